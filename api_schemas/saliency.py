"""Where a method learns what of each image is the object."""

from typing import Literal, get_args

SaliencySource = Literal["none", "cosegmentation", "user"]
"""`none`: the whole picture counts; `cosegmentation`: what the images have in common; `user`: masks given with them."""

SALIENCY_SOURCES: tuple[SaliencySource, ...] = get_args(SaliencySource)
