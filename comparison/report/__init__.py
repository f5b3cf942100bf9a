"""Reports of an analysis: tables as CSV, JSON and Markdown, and one page of HTML that holds all."""
