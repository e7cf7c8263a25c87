"""Uploaded meshes."""
