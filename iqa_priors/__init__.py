"""q(x): no-reference image quality models as priors."""
