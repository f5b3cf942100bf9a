"""Exact bijections, one file each."""
