"""Saliency: where in each image the object is, and which parts it has. `None` as masks: the whole picture counts."""
