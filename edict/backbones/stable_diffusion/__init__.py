"""Stable Diffusion 1.5, 2.x and SDXL."""
