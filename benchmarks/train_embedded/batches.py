"""Which pictures a step sees: several of each of some kinds of things."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.train_embedded.pictures import LabelledPictures
from benchmarks.train_embedded.recipe import Recipe


@dataclass(frozen=True)
class Chosen:
    """B views to draw, kind after kind; the last of a kind shows its first picture again.

    Attributes:
        pictures: (B,), which.
        labels: (B,), their classes.
        families: (B,), equal for classes that are the same or related.
        facing: (B,), 1 or -1 for mirrored; one kind faces one way.
    """

    pictures: Tensor
    labels: Tensor
    families: Tensor
    facing: Tensor


class Chooser:
    """Draws kinds: one class, rarer ones more often than their share, or several related classes."""

    def __init__(self, pictures: LabelledPictures, recipe: Recipe) -> None:
        """Sort the pictures; names of related classes that are not there are passed over."""
        self._recipe, self._labels = recipe, pictures.labels
        self._members = [pictures.of_class(label) for label in range(len(pictures.classes))]
        self._class_weights = torch.tensor([float(len(members)) for members in self._members]).sqrt()
        label_of = {name: label for label, name in enumerate(pictures.classes)}
        groups = [[label_of[name] for name in names.split() if name in label_of] for names in recipe.related]
        self._groups = [group for group in groups if len(group) > 1]
        self._families = torch.arange(len(pictures.classes))
        for group in self._groups:
            self._families[group] = group[0]

    def draw(self) -> Chosen:
        """Choose the pictures of one step."""
        recipe = self._recipe
        related = round(recipe.kinds_per_batch * recipe.related_share) if self._groups else 0
        kinds = [[label] * recipe.pictures_per_kind for label in self._some_classes(recipe.kinds_per_batch - related)]
        kinds += [self._some_related() for _ in range(related)]
        pictures = torch.stack([picture for kind in kinds for picture in self._some_pictures(kind)])
        mirrored = torch.rand(recipe.kinds_per_batch) < 0.5
        facing = torch.where(mirrored, -1.0, 1.0).repeat_interleave(recipe.views_per_kind)
        labels = self._labels[pictures]
        return Chosen(pictures, labels, self._families[labels], facing)

    def _some_classes(self, count: int) -> list[int]:
        return torch.multinomial(self._class_weights, count).tolist()

    def _some_related(self) -> list[int]:
        sizes = torch.tensor([float(len(group)) for group in self._groups])
        group = self._groups[int(torch.multinomial(sizes, 1))]
        order = torch.randperm(len(group)).tolist()
        return [group[order[place % len(group)]] for place in range(self._recipe.pictures_per_kind)]

    def _some_pictures(self, labels: list[int]) -> list[Tensor]:
        drawn = [self._members[label][torch.randint(len(self._members[label]), ())] for label in labels]
        return [*drawn, drawn[0]]


@dataclass(frozen=True)
class Pairs:
    """Ordered pairs of views within the kinds of a batch: sources (P,) and targets (P,)."""

    source: Tensor
    target: Tensor


def same_picture_pairs(recipe: Recipe) -> Pairs:
    """The first picture and its second view, both ways."""
    last = recipe.views_per_kind - 1
    return _in_every_kind([(0, last), (last, 0)], recipe)


def cross_picture_pairs(recipe: Recipe) -> Pairs:
    """All views of a kind, except the two of one picture."""
    views = range(recipe.views_per_kind)
    same = {0, recipe.views_per_kind - 1}
    return _in_every_kind([(a, b) for a in views for b in views if a != b and {a, b} != same], recipe)


def _in_every_kind(pairs: list[tuple[int, int]], recipe: Recipe) -> Pairs:
    first = torch.arange(recipe.kinds_per_batch)[:, None] * recipe.views_per_kind
    ends = torch.tensor(pairs)
    return Pairs((first + ends[:, 0]).flatten(), (first + ends[:, 1]).flatten())
