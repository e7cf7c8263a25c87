"""The keypoints of a kind of object."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Self

from pydantic import Discriminator, Field, Tag, model_validator

from api_schemas.base import Schema, Text

MAX_KEYPOINTS = 200

KeypointId = Annotated[int, Field(ge=0, lt=MAX_KEYPOINTS)]
KeypointName = Annotated[Text, Field(min_length=1, max_length=80)]


class KeypointSchema(Schema):
    """Names of keypoints, in the order in which images list them, and how they relate to each other."""

    names: list[KeypointName] = Field(min_length=1, max_length=MAX_KEYPOINTS)
    mirror_pairs: list[tuple[KeypointId, KeypointId]] | None = Field(
        default=None,
        description="Keypoints that become each other in a mirror image, such as left and right eye, by their place "
        "in `names`; all others stay what they are. Left out: told from the names, where they tell it.",
    )
    flip_permutation: list[KeypointId] | None = Field(
        default=None,
        description="The same in another form, instead of `mirror_pairs`: entry i is what keypoint i becomes.",
    )
    groups: list[Annotated[list[KeypointId], Field(min_length=2)]] | None = Field(
        default=None,
        description="Sets of keypoints that look alike and differ in place only, such as the four paws: the "
        "geometry-aware groups of arXiv 2311.17034. Left out: told from the names, else the mirror pairs.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.mirror_pairs is not None and self.flip_permutation is not None:
            raise ValueError("give either mirror_pairs or flip_permutation, and not both")
        for fault in (*self._pair_faults(), *self._permutation_faults(), *self._group_faults()):
            raise ValueError(fault)
        return self

    @property
    def permutation(self) -> list[int] | None:
        """What each keypoint becomes in a mirror image; None where nothing is known of it."""
        if self.flip_permutation is not None:
            return list(self.flip_permutation)
        if self.mirror_pairs is None:
            return None
        becomes = list(range(len(self.names)))
        for first, second in self.mirror_pairs:
            becomes[first], becomes[second] = second, first
        return becomes

    def _pair_faults(self) -> Iterator[str]:
        yield from _unknown("mirror_pairs", self.mirror_pairs or [], len(self.names))
        first: dict[int, int] = {}
        for index, pair in enumerate(self.mirror_pairs or []):
            if pair[0] == pair[1]:
                yield f"mirror_pairs/{index} pairs keypoint {pair[0]} with itself; leave it out"
            for keypoint in set(pair):
                if first.setdefault(keypoint, index) != index:
                    yield f"keypoint {keypoint} is in mirror_pairs/{first[keypoint]} and in mirror_pairs/{index}"

    def _permutation_faults(self) -> Iterator[str]:
        becomes = self.flip_permutation
        if becomes is None:
            return
        if len(becomes) != len(self.names):
            yield f"flip_permutation has {len(becomes)} entries for {len(self.names)} names"
            return
        yield from _unknown("flip_permutation", [[entry] for entry in becomes], len(self.names))
        for index, entry in enumerate(becomes):
            if entry < len(becomes) and becomes[entry] != index:
                yield (
                    f"flip_permutation is no involution: {index} becomes {entry}, but {entry} becomes "
                    f"{becomes[entry]}; mirroring twice must give every keypoint back"
                )

    def _group_faults(self) -> Iterator[str]:
        yield from _unknown("groups", self.groups or [], len(self.names))
        first: dict[int, int] = {}
        for index, group in enumerate(self.groups or []):
            for keypoint in group:
                if keypoint in first:
                    yield f"keypoint {keypoint} is in groups/{first[keypoint]} and in groups/{index}; once at most"
                first[keypoint] = index


def _unknown(field: str, entries: Sequence[Sequence[int]], count: int) -> Iterator[str]:
    for index, entry in enumerate(entries):
        for keypoint in entry:
            if keypoint >= count:
                yield f"{field}/{index} names keypoint {keypoint}; there are 0 to {count - 1}"


def _form(given: object) -> str:
    """Tell which of its two forms a schema is given in, so that only that one's faults are reported."""
    return "table" if isinstance(given, str) else "schema"


GivenSchema = Annotated[Annotated[KeypointSchema, Tag("schema")] | Annotated[Text, Tag("table")], Discriminator(_form)]
"""A schema, or the name of a table."""
