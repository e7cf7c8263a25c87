"""Features of Stable Diffusion 1.x as backbones, with plain diffusers."""
