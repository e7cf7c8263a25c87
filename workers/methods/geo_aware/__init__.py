"""Telling Left from Right: pairs of images matched after their poses are aligned (arXiv 2311.17034)."""
