"""3D Congealing (arXiv 2404.02125): a canonical shape, a camera and a dense 2D-3D map for each image of a set."""
