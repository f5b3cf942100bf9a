"""The command line's commands: checks before any work, the work, and what goes wrong."""
