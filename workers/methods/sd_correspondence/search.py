"""Embeddings for all queries, and where they lead in other images."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workers.methods.features import Heartbeat
from workers.methods.sd_correspondence.kept import Kept
from workers.methods.sd_correspondence.meter import Meter
from workers.methods.sd_correspondence.optimisation import Group, Optimisation
from workers.methods.sd_correspondence.passes import Passes
from workers.methods.sd_correspondence.pictures import Pictures
from workers.methods.sd_correspondence.plan import Batch, Query, places_of
from workers.methods.sd_correspondence.readout import Found
from workers.methods.sd_correspondence.scene import FeatureSource, Scene
from workers.methods.sd_correspondence.transfer import Target, read, units_to_read

_FIGURES = [one.name for one in fields(Found) if one.name != "heat"]


@dataclass(frozen=True)
class Learnt:
    """What came of a batch of G groups in R rounds."""

    embeddings: Tensor
    """(G, R, 77, D)."""
    losses: Tensor
    """(G, R, steps), NaN after an embedding's end."""
    shares: Tensor
    """(G, R) of the last loss in that of no attention at all; near 1, nothing was learnt."""


class Search:
    """Runs batches of queries on the images of a set; what is done is kept, for checkpoints."""

    def __init__(
        self, pictures: Pictures, queries: Sequence[Query], passes: Passes, kept: Kept, pulse: Heartbeat
    ) -> None:
        """Look for `queries` in `pictures`."""
        self.pictures, self.queries, self.kept = pictures, queries, kept
        self._passes, self._pulse = passes, pulse
        self._sources: dict[int, Scene] = {}
        self._last_target: dict[tuple[int, bool], Target] = {}

    def for_queries(self, queries: Sequence[Query]) -> Search:
        """Search for other points in the same images, with what is known of these."""
        other = copy(self)
        other.queries = queries
        return other

    def meter(self, total: int) -> Meter:
        """Count units of a stage."""
        return Meter(self._pulse, self.kept, total)

    def encode(self, sources: Sequence[int]) -> None:
        """Encode the crops from which the views of source images are drawn."""
        self._sources |= {image: self.pictures.scene(image) for image in sources}
        banks = [(self._sources[image], window) for image in sources for window in self.pictures.draws(image).bank]
        meter = self.meter(len(banks))
        for scene, window in banks:
            scene.encode([window])
            meter.advance()

    def units_to_learn(self, batches: Sequence[Batch]) -> int:
        """Count what `learn` tells a meter: steps."""
        return len(batches) * self.pictures.options.steps

    def learn(self, batches: Sequence[Batch], key: str, meter: Meter) -> list[Learnt]:
        """Optimise the embeddings of all batches; `key` names them among what is kept."""
        features: dict[int, FeatureSource] = {}
        learnt = []
        for number, batch in enumerate(batches):
            name, before = f"{key}-{number}", meter.done
            if self.kept.get(name) is None:
                if batch.image not in features:
                    features = {batch.image: self._features(batch.image)}
                self.kept.put(name, self._learn(batch, name, features[batch.image], meter))
            meter.advance(before + self.pictures.options.steps - meter.done)
            learnt.append(Learnt(**(self.kept.get(name) or {})))
        return learnt

    def units_to_find(self, image: int, batches: Sequence[Batch], *, corners_only: bool = False) -> int:
        """Count what `find` tells a meter: crops that are read."""
        windows = len(self.pictures.windows(image, corners_only=corners_only))
        return sum(units_to_read(windows, self._items(batch), self.pictures.options) for batch in batches)

    def find(
        self,
        image: int,
        batches: Sequence[Batch],
        learnt: Sequence[Learnt],
        key: str,
        meter: Meter,
        *,
        corners_only: bool = False,
    ) -> dict[int, Found]:
        """Find the queries of batches in an image: by query."""
        target = self._target(image, corners_only=corners_only)
        found: dict[int, Found] = {}
        for number, (batch, outcome) in enumerate(zip(batches, learnt, strict=True)):
            name, before = f"{key}-{image}-{number}", meter.done
            if self.kept.get(name) is None:
                self.kept.put(name, _packed(self._read(target, batch, outcome, meter)))
            units = units_to_read(len(target.windows), self._items(batch), self.pictures.options)
            meter.advance(before + units - meter.done)
            found |= dict(zip(batch.queries, _unpacked(self.kept.get(name) or {}), strict=True))
        return found

    def _items(self, batch: Batch) -> int:
        return len(batch.groups) * self.pictures.options.rounds

    def _read(self, target: Target, batch: Batch, outcome: Learnt, meter: Meter) -> list[Found]:
        reader, options = self.pictures.reader, self.pictures.options
        groups = read(
            target,
            outcome.embeddings,
            batch.tokens,
            reader,
            options,
            self._passes,
            tick=self._pulse.beat,
            on_crop=meter.advance,
        )
        return [one for group, of_tokens in zip(batch.groups, groups, strict=True) for one in of_tokens[: len(group)]]

    def _learn(self, batch: Batch, name: str, features: FeatureSource, meter: Meter) -> dict[str, Tensor]:
        optimisation = self._begin(batch, features)
        current = f"{name}-current"
        if (begun := self.kept.get(current)) is not None:
            optimisation.restore(begun)
            meter.advance(optimisation.done)

        def state() -> dict[str, Tensor]:
            self.kept.put(current, optimisation.state())
            return self.kept.state()

        while not optimisation.is_finished:
            meter.advance(state=state, loss=optimisation.step())
        self.kept.drop(current)
        rounds, steps = self.pictures.options.rounds, self.pictures.options.steps
        return {
            "embeddings": optimisation.embeddings,
            "losses": optimisation.losses.T.reshape(-1, rounds, steps),
            "shares": optimisation.shares_of_nothing,
        }

    def _begin(self, batch: Batch, features: FeatureSource) -> Optimisation:
        pictures = self.pictures
        fingerprint = pictures.fingerprint(batch.image)
        groups = []
        for group in batch.groups:
            places = places_of([self.queries[index] for index in group], pictures.squares[batch.image])
            seed = (pictures.seed, fingerprint, places.tolist())
            groups.append(Group(torch.tensor(places, dtype=torch.float32), seed))
        draws = pictures.draws(batch.image)
        return Optimisation(pictures.reader, features, groups, draws, pictures.options, self._passes)

    def _features(self, image: int) -> FeatureSource:
        return self.pictures.features(self._scene(image), image, self.pictures.options.optimise_timestep)

    def _scene(self, image: int) -> Scene:
        return self._sources.get(image) or self.pictures.scene(image)

    def _target(self, image: int, *, corners_only: bool) -> Target:
        """What an image shows to embeddings; kept until another is asked for, as ways back lead to one source."""
        key = (image, corners_only)
        if key not in self._last_target:
            self._last_target.clear()
            self._last_target[key] = self.pictures.target(self._scene(image), image, corners_only=corners_only)
        return self._last_target[key]


def joined_embeddings(learnt: Sequence[Learnt]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Embeddings (E, R, 77, D) and loss curves (E, R, steps) of all batches."""
    embeddings: npt.NDArray[np.float32] = torch.cat([one.embeddings for one in learnt]).numpy()
    return embeddings, torch.cat([one.losses for one in learnt]).numpy()


def shares_of(batches: Sequence[Batch], learnt: Sequence[Learnt]) -> dict[int, list[float]]:
    """Per query what its embedding's rounds have left of the loss of no attention."""
    return {
        query: one.shares[number].tolist()
        for batch, one in zip(batches, learnt, strict=True)
        for number, group in enumerate(batch.groups)
        for query in group
    }


def _packed(found: Sequence[Found]) -> dict[str, Tensor]:
    figures = torch.tensor([[getattr(one, name) for name in _FIGURES] for one in found], dtype=torch.float64)
    return {"figures": figures, "heat": torch.stack([one.heat for one in found])}


def _unpacked(tensors: dict[str, Tensor]) -> list[Found]:
    return [
        Found(**dict(zip(_FIGURES, row.tolist(), strict=True)), heat=heat)
        for row, heat in zip(tensors["figures"], tensors["heat"], strict=True)
    ]
