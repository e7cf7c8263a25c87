"""Correspondence by prompts of Stable Diffusion that are optimised to attend to a point (arXiv 2305.15581)."""
