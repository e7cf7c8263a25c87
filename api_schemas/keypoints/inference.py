"""What the names of keypoints tell of mirror pairs and groups, where a schema does not give them."""

from collections import defaultdict
from collections.abc import Sequence

from api_schemas.keypoints.names import NameReading, read_names
from api_schemas.keypoints.schema import KeypointSchema

Pairs = list[tuple[int, int]]
Groups = list[list[int]]


def completed(schema: KeypointSchema) -> KeypointSchema:
    """Say outright what a schema leaves to its names; what it gives is kept, an empty list meaning none.

    Mirror pairs: a left and a right keypoint whose names are the same but for the side (see `read_name`); where
    several are, the first left with the first right, and so on. One without a partner stays what it is. Groups: names
    that are the same but for side, front and back; where no two are, the mirror pairs.

    Returns:
        The schema with `groups`, and with `mirror_pairs` in place of `flip_permutation`. `mirror_pairs` is None where
        nothing is known: none were given, and no name has a side.
    """
    readings = read_names(schema.names)
    pairs = _given_pairs(schema)
    if pairs is None:
        pairs = _mirror_pairs(readings)
    groups = schema.groups
    if groups is None:
        groups = _groups(readings) or [list(pair) for pair in pairs or []]
    return KeypointSchema(names=schema.names, mirror_pairs=pairs, groups=groups)


def _given_pairs(schema: KeypointSchema) -> Pairs | None:
    """Return the pairs that a schema gives, in either form."""
    if schema.flip_permutation is None:
        return schema.mirror_pairs
    return [(first, second) for first, second in enumerate(schema.flip_permutation) if first < second]


def _mirror_pairs(readings: Sequence[NameReading]) -> Pairs | None:
    """Pair left with right, in the order of the earlier of the two; None where no name has a side."""
    if all(reading.side is None for reading in readings):
        return None
    sided: dict[tuple[str, ...], dict[str, list[int]]] = defaultdict(lambda: {"left": [], "right": []})
    for index, reading in enumerate(readings):
        if reading.side is not None:
            sided[reading.words][reading.side].append(index)
    return sorted(
        (min(pair), max(pair)) for sides in sided.values() for pair in zip(sides["left"], sides["right"], strict=False)
    )


def _groups(readings: Sequence[NameReading]) -> Groups:
    """Collect keypoints of the same part, in the order of the first of each."""
    parts: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, reading in enumerate(readings):
        parts[reading.part].append(index)
    return [members for members in parts.values() if len(members) > 1]
