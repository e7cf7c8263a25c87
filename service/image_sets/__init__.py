"""Ordered sets of images."""
