"""Priors that stand on CLIP."""
