"""MVDream (arXiv 2308.16512): Stable Diffusion that draws several views of one object at once, with plain diffusers."""
