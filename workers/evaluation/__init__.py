"""Synthetic image sets whose correspondences are known exactly, to measure alignments against."""
