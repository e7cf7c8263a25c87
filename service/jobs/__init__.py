"""Runs of a method on an image set."""
