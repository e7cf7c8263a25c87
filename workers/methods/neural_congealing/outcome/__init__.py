"""From the optimised warps to what a user gets: the atlas form in uploaded pixels, pictures, tensors and figures."""
