"""Nearest neighbours: raw feature matching between all pairs."""
