"""Priors whose networks are pyiqa's."""
