"""Training the networks of Neural Congealing on one set (arXiv 2302.03956; official schedule).

One pass over the set is an epoch. Similarities and atlas are trained first, then the flow too. With flips, each step
sees its pictures both ways: as chosen, shaping the atlas, and the other way, training the maps only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from workers.methods.hooks import Hooks, Quiet
from workers.methods.neural_congealing.network.atlas import AtlasParameters, fixed_atlas, mean_atlas
from workers.methods.neural_congealing.network.data import TrainingSet, training_set
from workers.methods.neural_congealing.network.flips import choose_flips
from workers.methods.neural_congealing.network.gradual import first_image, with_nearest
from workers.methods.neural_congealing.network.objective import FlowView, Seen, Terms, image_distances, objective
from workers.methods.neural_congealing.network.options import NetworkOptions
from workers.methods.neural_congealing.network.outcome import congealing_result
from workers.methods.neural_congealing.network.schedule import (
    STAGES,
    Moment,
    image_order,
    is_due,
    moment_at,
    stage_ends,
)
from workers.methods.neural_congealing.network.state import first_state, new_network
from workers.methods.neural_congealing.network.stn import MappingNetwork
from workers.methods.neural_congealing.result import CongealingResult

LOOK_STEPS = 25


def train(
    pictures: Tensor,
    features: Tensor,
    masks: Tensor,
    valid: Tensor,
    options: NetworkOptions,
    *,
    mirrored_features: Tensor | None = None,
    seed: int = 0,
    hooks: Hooks | None = None,
) -> CongealingResult:
    """Train on N pictures of one kind of thing and return how they align.

    Args:
        pictures: (N, 3, S, S) RGB in [0, 1], in square frames.
        features: (N, C, h, h) of the same frames.
        masks: (N, 1, h, h) in [0, 1], where the object is; all ones if that is not known.
        valid: (N, 1, h, h) in [0, 1], 0 on padding.
        options: settings.
        mirrored_features: (N, C, h, h) of the mirrored pictures; needed for flips.
        seed: of weights and order.
        hooks: progress, checkpoints, cancellation. A run resumed from any state ends bit by bit as undisturbed.

    Raises:
        ValueError: shapes or options that do not fit the set, or a checkpoint of something else.
        ArithmeticError: the loss is no longer finite.
    """
    if options.flips and mirrored_features is None:
        raise ValueError("flips need the features of the mirrored pictures; pass `mirrored_features`, or flips=False")
    if options.reference is not None and options.reference >= len(pictures):
        raise ValueError(f"reference is {options.reference} of {len(pictures)} images; use 0 to {len(pictures) - 1}")
    data = training_set(
        pictures,
        features,
        masks,
        valid,
        mirrored_features if options.flips else None,
        image_size=options.image_size,
        atlas_size=options.atlas_size,
    )
    hooks = hooks or Quiet()
    with torch.enable_grad(), _repeatable():
        training = Training(data, options, seed=seed)
        if hooks.resume is not None:
            training.state.restore(hooks.resume)
        training.run(hooks)
        return congealing_result(training.state, data, options)


def _repeatable() -> AbstractContextManager[None]:
    """Convolutions that give the same bits each time."""
    context: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True
    )
    return context


class Training:
    """A training under way."""

    def __init__(
        self, data: TrainingSet, options: NetworkOptions, *, seed: int, network: MappingNetwork | None = None
    ) -> None:
        """Begin from the mean of the set, or from the reference image, with a new network unless one is given."""
        self.data, self.options, self.seed = data, options, seed
        self.device = data.keys.device
        atlas = self._first_atlas().to(self.device)
        self.state = first_state(
            atlas, self._first_included(atlas), network or new_network(options, seed, self.device), options
        )
        self._order = torch.empty(0, dtype=torch.int64), -1

    def run(self, hooks: Hooks) -> None:
        """Train from the present state to the end."""
        for name, end in zip(STAGES, stage_ends(self.data.count, self.options), strict=True):
            if self.state.done < end:
                hooks.stage(name)
            while self.state.done < end:
                self._advance(hooks)

    def losses(self, images: Tensor, *, flow: bool) -> list[Terms]:
        """The losses of a batch of images (B,): as they are chosen; then, with flips, the other way."""
        state, data = self.state, self.data
        mirrored = state.mirrored[images]
        rows = data.rows(images, mirrored)
        if data.can_mirror:
            rows = torch.cat([rows, data.rows(images, ~mirrored)])
        size = self.options.atlas_size
        maps = state.network(self._pictures(rows), flow=flow)
        grids = maps.grid(size)
        seen = data.read(rows, grids)
        apart = data.read(rows, maps.similarity_grid(size)) if flow else None
        flows = maps.flow_at(size) if flow else None
        shaping = None if self.options.reference is not None else state.included[images]
        atlas, terms = state.atlas.view(), []
        for start in range(0, len(rows), len(images)):
            part = slice(start, start + len(images))
            view = None
            if apart is not None and flows is not None:
                view = FlowView(flows[part], grids[part], _part(apart, part), self.options.rigidity_span)
            terms.append(
                objective(
                    atlas if start == 0 else atlas.detached(),
                    _part(seen, part),
                    maps.parameters[part, 1],
                    self.options.loss_weights,
                    reach=shaping if start == 0 else None,
                    flow=view,
                )
            )
        return terms

    def step(self, images: Tensor, *, flow: bool) -> Tensor:
        """One step of Adam on a batch; the loss before it, without a wait for the device."""
        loss = torch.stack([term for terms in self.losses(images, flow=flow) for term in terms.values()]).sum()
        self.state.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.state.optimiser.step()
        return loss.detach()

    @torch.no_grad()
    def distances(self, *, turned: bool, flow: bool, tick: Callable[[], None]) -> Tensor:
        """Distance (N,) of all images from the atlas, as they are or all mirrored."""
        found = []
        for images in torch.split(torch.arange(self.data.count, device=self.device), self.options.batch):
            rows = self.data.rows(images, torch.full_like(images, int(turned)))
            maps = self.state.network(self._pictures(rows), flow=flow)
            seen = self.data.read(rows, maps.grid(self.options.atlas_size))
            found.append(image_distances(self.state.atlas.view(), seen, self.options.loss_weights))
            tick()
        return torch.cat(found)

    def review(self, epoch: int, *, flow: bool, tick: Callable[[], None]) -> None:
        """Where it is time, choose the flips anew and let another image join the atlas."""
        options, state = self.options, self.state
        flips = self.data.can_mirror and is_due(epoch, options.flip_interval)
        grows = options.gradual and is_due(epoch, options.gradual_interval(self.data.count))
        if not flips and not grows:
            return
        distances = self.distances(turned=False, flow=flow, tick=tick)
        turned = self.distances(turned=True, flow=flow, tick=tick) if self.data.can_mirror else distances
        if flips:
            state.mirrored = choose_flips(distances, turned, state.mirrored, compat=options.compat)
            if options.reference is not None:
                state.mirrored[options.reference] = False
        if grows:
            state.included = with_nearest(state.included, torch.where(state.mirrored, turned, distances))

    def _advance(self, hooks: Hooks) -> None:
        """One step, with what belongs to its place in the schedule."""
        state = self.state
        moment = moment_at(state.done, self.data.count, self.options)
        loss = self.step(self._images(moment), flow=moment.flow)
        state.window += torch.stack([loss.double(), torch.ones_like(loss, dtype=torch.float64)])
        state.done += 1
        if moment.batch == 0:
            self.review(moment.epoch, flow=moment.flow, tick=lambda: hooks.step(moment.step, moment.total))
        done = moment.step + 1
        metrics = {"loss": self._look(moment)} if done % LOOK_STEPS == 0 or done == moment.total else {}
        hooks.step(done, moment.total, state=state.tensors, **metrics)

    def _look(self, moment: Moment) -> float:
        """Note the mean loss since the last look, on the curve too."""
        total, count = map(float, self.state.window.tolist())
        self.state.window = torch.zeros_like(self.state.window)
        loss = total / count
        if not math.isfinite(loss):
            raise ArithmeticError(
                f"the loss is no longer finite at step {moment.step + 1} of the {STAGES[moment.flow]} stage; "
                "use smaller learning rates or another seed"
            )
        row = torch.tensor([[float(moment.flow), float(moment.step + 1), loss]])
        self.state.curve = torch.cat([self.state.curve, row])
        return loss

    def _images(self, moment: Moment) -> Tensor:
        """The images (B,) of a step."""
        order, epoch = self._order
        if epoch != moment.epoch:
            order = image_order(self.seed, moment.epoch, self.data.count).to(self.device)
            self._order = order, moment.epoch
        return order[moment.batch * self.options.batch :][: self.options.batch]

    def _pictures(self, rows: Tensor) -> Tensor:
        pictures = self.data.pictures[rows]
        return pictures.contiguous(memory_format=torch.channels_last) if pictures.is_cuda else pictures

    def _first_atlas(self) -> AtlasParameters:
        data, reference = self.data, self.options.reference
        if reference is not None:
            return fixed_atlas(data.keys[reference], data.masks[reference])
        count = data.count
        return mean_atlas(data.keys[:count], data.masks[:count], data.valid[:count])

    def _first_included(self, atlas: AtlasParameters) -> Tensor:
        count = self.data.count
        if self.options.gradual:
            keys, masks = self.data.keys[:count], self.data.masks[:count]
            return first_image(keys, masks, atlas.keys.detach(), self.options.loss_weights)
        return torch.ones(count, dtype=torch.bool, device=self.device)


def _part(seen: Seen, part: slice) -> Seen:
    return Seen(seen.keys[part], seen.masks[part], seen.inside[part])
