"""What a keypoint's name tells: its side, whether it is front or back, and the part."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

SIDES: dict[str, Literal["left", "right"]] = {"left": "left", "right": "right"}
SIDE_LETTERS: dict[str, Literal["left", "right"]] = {"l": "left", "r": "right"}
END_LETTERS = {"f": "front", "b": "back", "h": "hind"}
ENDS = frozenset({"front", "fore", "back", "rear", "hind"})
# A lone letter with a number is a label such as `L1`, and no side; then capitals, words and numbers.
_LETTER = r"[^\W\d_]"
_SMALL = r"[^\W\d_A-Z]"
_TOKEN = re.compile(rf"(?<!{_LETTER}){_LETTER}\d+|[A-Z]+(?!{_SMALL})|[A-Z]?{_SMALL}+|\d+")


@dataclass(frozen=True)
class NameReading:
    """A keypoint's name, read; equal for `L_F_Paw`, `leftFrontPaw` and `left front paw`."""

    side: Literal["left", "right"] | None
    words: tuple[str, ...]
    """All but the side, in order, in small letters."""

    @property
    def part(self) -> tuple[str, ...]:
        """The words without front and back; all words where nothing else is left."""
        return tuple(word for word in self.words if word not in ENDS) or self.words


def read_name(name: str) -> NameReading:
    """Read a keypoint's name.

    Words are parted by anything but letters and digits, and by capitals (`leftEye`, `LEye`). The side is the word left
    or right anywhere, else a single l or r as the first or the last word; a name with both sides, or with none, has
    no side. An f, b or h right after a leading l or r is front, back or hind.
    """
    words = [token.lower() for token in _TOKEN.findall(name)] or [name]
    spelt = {SIDES[word] for word in words if word in SIDES}
    if len(spelt) == 1:
        return NameReading(spelt.pop(), tuple(word for word in words if word not in SIDES))
    if spelt or len(words) < 2:
        return NameReading(None, tuple(words))
    first, last = SIDE_LETTERS.get(words[0]), SIDE_LETTERS.get(words[-1])
    if first and not last:
        end = END_LETTERS.get(words[1], words[1]) if len(words) > 2 else words[1]
        return NameReading(first, (end, *words[2:]))
    if last and not first:
        return NameReading(last, tuple(words[:-1]))
    return NameReading(None, tuple(words))


def read_names(names: Sequence[str]) -> list[NameReading]:
    """Read the names of keypoints, in order."""
    return [read_name(name) for name in names]
