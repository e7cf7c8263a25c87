"""Paint once, and see it on all images of a finished job."""
