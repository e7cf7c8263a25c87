"""Embeddings that learn to attend to points (arXiv 2305.15581, equation 5), many at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam

from workers.methods.sd_correspondence.crops import Crops, Window
from workers.methods.sd_correspondence.options import Options
from workers.methods.sd_correspondence.passes import Passes
from workers.methods.sd_correspondence.patience import Patience
from workers.methods.sd_correspondence.peaks import PeakLoss
from workers.methods.sd_correspondence.reader import Reader, generator
from workers.methods.sd_correspondence.scene import FeatureSource, View, drawn_noise
from workers.methods.training_tensors import moment_tensors, restore_moments

# Gradients are about 1e-7 and would vanish in float16; a power of two changes nothing else.
_LOSS_SCALE = 2.0**16


@dataclass(frozen=True)
class Group:
    """Points of one picture that share an embedding, each with a token of its own."""

    places: Tensor
    """(T, 2) x, y in pixels of the square."""
    seed: tuple[object, ...]
    """What the random numbers of its embeddings depend on."""


@dataclass(frozen=True)
class Draws:
    """Where views come from: crops of `bank`, or any when it is empty."""

    crops: Crops
    bank: Sequence[Window]


class Optimisation:
    """Embeddings of G groups, R of each from different noise; item g R + r is embedding r of group g."""

    def __init__(
        self,
        reader: Reader,
        features: FeatureSource,
        groups: Sequence[Group],
        draws: Draws,
        options: Options,
        passes: Passes,
    ) -> None:
        """Begin with noise.

        Args:
            reader: the network.
            features: what it attends with at views of the picture.
            groups: of points.
            draws: how views are drawn.
            options: of the job.
            passes: how many items go through the network at once.
        """
        self._reader, self._features, self._groups, self._draws = reader, features, groups, draws
        self._options, self._passes = options, passes
        rounds, count = options.rounds, len(groups) * options.rounds
        self._loss = PeakLoss(options.size, options.sigma, half_pixel=options.half_pixel)
        self._owner = [item // rounds if options.shares_draws else item for item in range(count)]
        self._generators = [generator(*group.seed, draw) for group in groups for draw in self._draws_of_a_group()]
        noise = [generator(*group.seed, "embedding", index) for group in groups for index in range(rounds)]
        start = torch.stack([torch.randn(reader.embedding_shape, generator=one) for one in noise])
        self._embeddings = nn.Parameter(start.to(reader.device))
        self._adam = Adam([self._embeddings], lr=options.learning_rate, betas=(0.9, 0.999), eps=1e-8)
        self._patience = Patience(count)
        self._places, self._weights = _stacked(groups)
        self.losses = torch.full((options.steps, count), torch.nan)
        self.done = 0

    @property
    def tokens(self) -> int:
        """Points of the largest group."""
        return self._places.shape[1]

    @property
    def is_finished(self) -> bool:
        """Whether no step is left, or no embedding that still learns."""
        return self.done == self._options.steps or not self._active()

    @property
    def embeddings(self) -> Tensor:
        """(G, R, 77, D) on the CPU, in float32."""
        found = self._embeddings.detach().float().cpu().clone()
        return found.reshape(len(self._groups), self._options.rounds, *found.shape[1:])

    @property
    def shares_of_nothing(self) -> Tensor:
        """Last loss of each item (G, R) as a share of the loss of no attention at all; inf if there is none."""
        order = torch.arange(1, len(self.losses) + 1)[:, None]
        last = (self.losses.isfinite() * order).argmax(0)
        final = self.losses.gather(0, last[None])[0].nan_to_num(torch.inf)
        middle = torch.full((1, 1, 2), self._options.size / 2)
        return (final / self._loss.of_nothing(middle)[0, 0]).reshape(-1, self._options.rounds)

    def step(self) -> float:
        """Do one step of all embeddings that still learn, and return their mean loss."""
        items = self._active()
        views = {owner: self._view(owner) for owner in dict.fromkeys(self._owner[item] for item in items)}
        gradients = torch.zeros_like(self._embeddings)
        losses, shares = torch.full((2, len(self._embeddings)), torch.nan)

        def work(part: Sequence[int]) -> None:
            losses[list(part)], shares[list(part)], gradients[list(part)] = self._pass(part, views)

        self._passes.run(items, work)
        before = self._embeddings.detach().clone()
        self._embeddings.grad = gradients
        self._adam.step()
        with torch.no_grad():
            # Adam's momentum would move those that have ended.
            ended = torch.ones(len(before), dtype=torch.bool, device=before.device)
            ended[items] = False
            self._embeddings[ended] = before[ended]
        self.losses[self.done] = losses
        self.done += 1
        if self._options.stop_early:
            self._patience.see(shares)
        return float(losses[items].nanmean())

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on as if nothing had happened."""
        generators = torch.stack([one.get_state() for one in self._generators])
        moments = moment_tensors(self._adam, {"embeddings": self._embeddings})
        own = {"embeddings": self._embeddings.detach(), "losses": self.losses, "generators": generators}
        return own | moments | self._patience.state() | {"done": torch.tensor(self.done)}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""
        self._embeddings.copy_(state["embeddings"])
        restore_moments(self._adam, {"embeddings": self._embeddings}, state)
        self.losses.copy_(state["losses"])
        for one, kept in zip(self._generators, state["generators"], strict=True):
            # Torch reads beyond the end of a tensor that is part of a larger one.
            one.set_state(kept.clone())
        self._patience.restore(state)
        self.done = int(state["done"])

    def _draws_of_a_group(self) -> range:
        return range(1 if self._options.shares_draws else self._options.rounds)

    def _active(self) -> list[int]:
        return self._patience.patient() if self._options.stop_early else list(range(len(self._owner)))

    def _view(self, owner: int) -> View:
        group = self._groups[owner if self._options.shares_draws else owner // self._options.rounds]
        source = self._generators[owner]
        window = self._window(group, source)
        return View(window, drawn_noise(self._options.noise, self._reader.latent_shape(self._options.size), source))

    def _window(self, group: Group, source: torch.Generator) -> Window:
        """Draw a crop: one that suits the point, or any for points all over the picture."""
        crops, bank = self._draws.crops, self._draws.bank
        is_single = len(group.places) == 1
        place = (float(group.places[0, 0]), float(group.places[0, 1]))
        if not bank:
            return crops.draw(place if is_single else (crops.size / 2, crops.size / 2), source)
        suited = crops.for_point(place, bank) if is_single else bank
        return suited[int(torch.randint(len(suited), (1,), generator=source))]

    def _pass(self, items: Sequence[int], views: Mapping[int, View]) -> tuple[Tensor, Tensor, Tensor]:
        """Losses (B,) of some items, the same as shares of that of no attention, and gradients (B, 77, D).

        Losses are NaN where no point lies in the crop.
        """
        device = self._embeddings.device
        owners = list(dict.fromkeys(self._owner[item] for item in items))
        index = torch.tensor([owners.index(self._owner[item]) for item in items], device=device)
        given = self._embeddings.detach()[list(items)].requires_grad_()
        features = self._features([views[owner] for owner in owners], given, index)
        maps = self._reader.attend(features, given, self.tokens)
        centres, weights = self._centres(items, views)
        by_point = self._loss(maps, centres.to(device)) * weights.to(device)
        losses = by_point.sum(1)
        (gradient,) = torch.autograd.grad(losses.sum() * _LOSS_SCALE, given)
        found = losses.detach().float().cpu().where(weights.any(1), torch.nan)
        nothing = (self._loss.of_nothing(centres) * weights).sum(1)
        return found, found / nothing, gradient / _LOSS_SCALE

    def _centres(self, items: Sequence[int], views: Mapping[int, View]) -> tuple[Tensor, Tensor]:
        """Where the points lie in the crops, upsampled (B, T, 2), and what each counts (B, T): outside, nothing."""
        crops = self._draws.crops
        groups = [item // self._options.rounds for item in items]
        starts = torch.tensor([views[self._owner[item]].window for item in items], dtype=torch.float32)
        inside = (self._places[groups] - starts[:, None]) / crops.side
        seen = ((inside >= 0) & (inside <= 1)).all(-1) & (self._weights[groups] > 0)
        return inside * crops.size, seen / seen.sum(1, keepdim=True).clamp_min(1)


def _stacked(groups: Sequence[Group]) -> tuple[Tensor, Tensor]:
    """Places (G, T, 2) of all groups and which of them there are (G, T)."""
    most = max(len(group.places) for group in groups)
    places, weights = torch.zeros(len(groups), most, 2), torch.zeros(len(groups), most)
    for index, group in enumerate(groups):
        places[index, : len(group.places)] = group.places
        weights[index, : len(group.places)] = 1
    return places, weights
