"""A finished atlas with images added."""

from __future__ import annotations

from dataclasses import replace

from alignment.atlas import Atlas
from workers.methods.base import BaseResult, MethodResult


def with_base_kept(base: BaseResult, result: MethodResult) -> MethodResult:
    """The result of all images with what `base` says of its own, the first ones, put back as it was.

    Raises:
        TypeError: one of the two is no atlas.
    """
    old, new = base.form, result.form
    if not isinstance(old, Atlas) or not isinstance(new, Atlas):
        raise TypeError("only an atlas can be extended by an atlas")
    count = len(old.images)
    form = Atlas(
        new.images,
        old.to_canonical + new.to_canonical[count:],
        old.from_canonical + new.from_canonical[count:],
        old.confidence + new.confidence[count:],
    )
    return replace(result, form=form, scores=[*base.scores, *result.scores[count:]])
