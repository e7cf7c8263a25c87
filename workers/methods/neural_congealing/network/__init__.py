"""The network mode of Neural Congealing: the paper's networks, losses and schedule."""
