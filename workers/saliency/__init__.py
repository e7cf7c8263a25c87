"""Saliency: where in each image the object is. `None` as masks means that the whole picture counts."""
