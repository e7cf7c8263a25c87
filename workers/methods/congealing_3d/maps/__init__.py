"""Dense maps between images and the canonical shape, given the cameras."""
