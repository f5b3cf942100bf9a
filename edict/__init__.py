"""The diffusion model as a bijection (paper, Section III-A)."""
