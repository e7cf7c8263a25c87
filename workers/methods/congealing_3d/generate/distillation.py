"""A field that looks, from everywhere, like what a diffusion model expects of a prompt (MVDream, arXiv 2308.16512)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from workers.backbones.mvdream.conditions import camera_conditions
from workers.memory import is_out_of_memory
from workers.methods.congealing_3d.generate.cameras import DrawnViews, draw_views
from workers.methods.congealing_3d.generate.distillation_state import DistillationState, first_state
from workers.methods.congealing_3d.generate.draws import drawing
from workers.methods.congealing_3d.generate.guidance import Prompts, distillation_loss
from workers.methods.congealing_3d.generate.marching import Backdrop, march
from workers.methods.congealing_3d.generate.networks import ViewNetworks
from workers.methods.congealing_3d.generate.occupancy import INTERVAL
from workers.methods.congealing_3d.generate.options import DistillationOptions
from workers.methods.congealing_3d.generate.schedule import VIEWS, active_levels, phase_at, time_window
from workers.methods.features import Heartbeat

STAGE = "distillation"
LOOK_STEPS = 25
_FEWEST_RAYS = 512
_PLAIN_SHARE = 0.5
_MOST_VIEWS = 1024
"""Of a step, so that all lots of all steps draw numbers of their own."""

Save = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""Makes a checkpoint of a phase's tensors."""


@dataclass(frozen=True)
class Draw:
    """What a step sees.

    Attributes:
        step: from 0.
        views: the cameras, groups side by side.
        size: pixels a side.
        time: of the noise.
        shifts: (V S S,) in [0, 1), of the samples on their rays.
        plain: (3,) colour behind all views, or None for the learned background.
    """

    step: int
    views: DrawnViews
    size: int
    time: int
    shifts: Tensor
    plain: Tensor | None


class Distillation:
    """A distillation under way.

    Attributes:
        state: all that changes and is kept.
        groups_at_once: groups of views that are rendered and described together.
        marching: how rays are marched.
    """

    def __init__(
        self,
        networks: ViewNetworks,
        prompts: Prompts,
        options: DistillationOptions,
        *,
        size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        """Begin with a grey ball.

        Args:
            networks: the frozen model.
            prompts: embedded.
            options: settings.
            size: pixels a side of the pictures that the model sees.
            seed: of all that is drawn.
            device: of the networks.
        """
        self.networks, self.options, self.seed, self._device = networks, options, seed, device
        self._prompts, self._size = prompts, size
        self.state: DistillationState = first_state(options, seed=seed, device=device)
        self.groups_at_once = max(phase.groups for phase in options.phases)
        self.marching = options.marching

    def run(self, pulse: Heartbeat, save: Save) -> None:
        """Learn from the present state to the end."""
        state, total = self.state, self.options.steps
        if state.done >= total:
            return
        pulse.stage(STAGE)
        while state.done < total:
            loss = self.step(self.draw(state.done), pulse)
            state.window += torch.stack([loss[0].double(), loss[1].double(), state.window.new_ones(())])
            metrics = self._look() if state.done % LOOK_STEPS == 0 or state.done == total else {}
            pulse.step(state.done, total, state=lambda: save(state.tensors()), **metrics)

    def draw(self, step: int) -> Draw:
        """What a step, from 0, sees; depends on nothing but the seed and the step."""
        phase = phase_at(self.options.phases, step, self.options.steps)
        generator = drawing(self.seed, "views", step)
        views = draw_views(phase.groups, generator)
        low, high = time_window(step, self.options.steps)
        time = int(torch.randint(low, high + 1, (), generator=generator))
        coin, *colour = torch.rand(4, generator=generator).tolist()
        plain = torch.tensor(colour) if coin < _PLAIN_SHARE else None
        rays = len(views.cameras) * phase.size**2
        shifts = torch.rand(rays, generator=drawing(self.seed, "rays", step))
        return Draw(step, views, phase.size, time, shifts, plain)

    def step(self, draw: Draw, pulse: Heartbeat | None = None) -> Tensor:
        """One step of AdamW; loss and mean opacity (2,) before it, on the device."""
        state = self.state
        levels = active_levels(state.field.detail_levels, draw.step, self.options.steps)
        state.field.use_levels(levels)
        if draw.step % INTERVAL == 0:
            state.occupancy.update(state.field, drawing(self.seed, "occupancy", draw.step))
        found = self._within_memory(draw, pulse)
        state.optimiser.step()
        state.done += 1
        return found

    def _within_memory(self, draw: Draw, pulse: Heartbeat | None) -> Tensor:
        """Gradients of all groups; where memory runs out, again with half as much at once."""
        while True:
            try:
                return self._learn(draw)
            except Exception as error:
                if not is_out_of_memory(error) or not self._can_be_relieved:
                    raise
            told = self._relieve(len(draw.views.cameras) // VIEWS)
            if pulse is not None:
                pulse.log(told)

    @property
    def _can_be_relieved(self) -> bool:
        return self.groups_at_once > 1 or self.marching.rays_at_once > _FEWEST_RAYS

    def _relieve(self, groups: int) -> str:
        """Make do with less memory from now on, and tell how."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        tried = min(self.groups_at_once, groups)
        if tried > 1:
            self.groups_at_once = tried // 2
            return f"Memory ran out for {tried} groups of views at once; going on with {self.groups_at_once}."
        self.groups_at_once = 1
        rays = self.marching.rays_at_once
        self.marching = replace(self.marching, rays_at_once=rays // 2)
        return f"Memory ran out for {rays} rays at once; going on with {rays // 2}."

    def _learn(self, draw: Draw) -> Tensor:
        self.state.optimiser.zero_grad(set_to_none=True)
        views, at_once = len(draw.views.cameras), self.groups_at_once * VIEWS
        found = torch.zeros(2, device=self._device)
        for start in range(0, views, at_once):
            rows = slice(start, min(start + at_once, views))
            share = (rows.stop - rows.start) / views
            loss, opacity = self._loss(draw, rows)
            # Where a colour lies behind an empty field, nothing can be learned.
            if loss.requires_grad:
                torch.autograd.backward(loss * share)
            found += share * torch.stack([loss.detach(), opacity])
        return found

    def _loss(self, draw: Draw, rows: slice) -> tuple[Tensor, Tensor]:
        """Loss () of some of the views, and their mean opacity ()."""
        cameras = draw.views.cameras[rows].to(self._device)
        per_view = draw.size**2
        shifts = draw.shifts[rows.start * per_view : rows.stop * per_view].to(self._device)
        marched = march(
            self.state.field,
            cameras,
            draw.size,
            backdrop=self._backdrop(draw),
            shifts=shifts,
            occupancy=self.state.occupancy,
            marching=self.marching,
        )
        rgb = interpolate(marched.rgb, (self._size, self._size), mode="bilinear")
        lot = draw.step * _MOST_VIEWS + rows.start
        latents = self.networks.encode(rgb, drawing(self.seed, "latents", lot)).float()
        noise = torch.randn(latents.shape, generator=drawing(self.seed, "noise", lot)).to(latents)
        loss = distillation_loss(
            self.networks, latents, noise, draw.time, self._prompts, camera_conditions(cameras), self.options.guidance
        )
        return loss, marched.opacity.detach().mean()

    def _backdrop(self, draw: Draw) -> Backdrop:
        if draw.plain is None:
            return self.state.field.background
        colour = draw.plain.to(self._device)
        return lambda directions: colour.expand_as(directions)

    def _look(self) -> dict[str, float]:
        """Note mean loss and opacity since the last look.

        Raises:
            ArithmeticError: the loss is no longer finite.
        """
        state = self.state
        loss, opacity, count = map(float, state.window.tolist())
        state.window.zero_()
        if not math.isfinite(loss):
            raise ArithmeticError(
                f"the loss is no longer finite at step {state.done} of the {STAGE} stage; "
                "use another seed or smaller learning rates"
            )
        row = torch.tensor([[float(state.done), loss / count, opacity / count]])
        state.curve = torch.cat([state.curve, row])
        return {"loss": loss / count, "opacity": opacity / count}
