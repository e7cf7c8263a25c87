"""Uploaded pictures in, working frames out, and back."""
