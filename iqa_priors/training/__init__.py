"""Training of quality models by pairs."""
