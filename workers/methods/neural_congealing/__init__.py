"""Neural Congealing (arXiv 2302.03956) by direct optimisation of one warp per image."""
