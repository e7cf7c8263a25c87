"""Where each image was taken from."""
