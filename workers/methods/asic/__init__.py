"""ASIC (arXiv 2303.16201): aligning sparse in-the-wild image collections."""
