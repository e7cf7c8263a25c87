"""The set as all presets take it: working frames, features for matching and for parts, and where the objects are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from api_schemas.methods.asic import AsicParams
from workers.backbones.base import Backbone
from workers.backbones.registry import BackboneProvider
from workers.geometry.joint_splines import JointOptions
from workers.imaging.frames import WorkingFrames
from workers.matching.projection import Projection, fit_projection
from workers.methods.asic.alignment import AlignOptions
from workers.methods.asic.matching import Cells, all_cells, cells_of
from workers.methods.base import InputImage
from workers.methods.features import Heartbeat, describe_frames, describe_set
from workers.methods.masks import object_masks
from workers.run_context import Run

MATCH_CELLS = 32
PARITY_CELLS = 64
FEATURE_DIM = 96
WHITENING = 0.5


@dataclass(frozen=True)
class DescribedSet:
    """N images and what is known of them before any alignment.

    Attributes:
        backbone: describes pictures.
        frames: the images in their working frames.
        features: (N, C, c, c) of the frames.
        mirrored_features: (N, C, c, c) of the mirrored frames; None where nothing may be mirrored.
        masks: (N, 1, c, c) in [0, 1], where the objects are; None where the whole images count.
    """

    backbone: Backbone
    frames: WorkingFrames
    features: Tensor
    mirrored_features: Tensor | None
    masks: Tensor | None

    @property
    def valid(self) -> Tensor:
        """Share (N, 1, c, c) of each cell that the pictures cover."""
        return self.frames.valid(self.features.shape[-1])

    @property
    def area(self) -> Tensor:
        """Share (N, 1, c, c) of each cell that may be matched."""
        return self.valid if self.masks is None else self.valid * self.masks

    def described_upright(self, mirrored: Tensor) -> DescribedSet:
        """The same, images (N,) bool described by their mirror images, turned back: like things have like features.

        Features tell left from right; those of mirrored images as they are would be taken for other things.
        """
        if self.mirrored_features is None or not bool(mirrored.any()):
            return self
        turned = mirrored.view(-1, 1, 1, 1)
        as_they_are, turned_back = self.features, self.mirrored_features.flip(-1)
        return replace(
            self,
            features=torch.where(turned, turned_back, as_they_are),
            mirrored_features=torch.where(turned, as_they_are, turned_back).flip(-1),
        )

    def cells(self, *, parity: bool = False) -> tuple[Cells, Cells | None]:
        """What can be matched of the frames and of the mirrored ones.

        With `parity` the features as they are, else their principal components, somewhat evened out.
        """
        if parity:
            return all_cells(self.features, self.area, PARITY_CELLS), None
        project, area = fit_projection(self.features, self.area, dim=FEATURE_DIM, whitening=WHITENING), self.area
        upright = cells_of(projected(project, self.features), area, MATCH_CELLS)
        if self.mirrored_features is None:
            return upright, None
        return upright, cells_of(projected(project, self.mirrored_features), area.flip(-1), MATCH_CELLS)


def described_set(
    backbones: BackboneProvider, images: Sequence[InputImage], params: AsicParams, run: Run, pulse: Heartbeat
) -> DescribedSet:
    """Letterbox and describe images as a job's parameters ask for.

    Raises:
        ValueError: images that show nothing, or masks that do not fit; names them.
    """
    backbone = backbones.get(params.backbone, params.features)
    frames, features = describe_set(
        backbone, images, size=params.working_size, device=run.device, pulse=pulse, cache=backbones.cache
    )
    mirrored = None
    if params.flips == "auto" and params.preset != "parity":
        mirrored = describe_frames(backbone, frames.mirrored(), pulse, backbones.cache)
    masks = object_masks(backbones, params, features, frames, images, seed=run.seed, tick=pulse.beat)
    return DescribedSet(backbone, frames, features, mirrored, masks)


def align_options(params: AsicParams) -> AlignOptions:
    """Translate a job's parameters."""
    stiffest = JointOptions().stiffness[0]
    splines = JointOptions(stiffness=(max(stiffest, params.stiffness), params.stiffness))
    return AlignOptions(most_matches=params.matches, splines=splines)


def tell_unmatched(counts: Tensor, images: Sequence[InputImage], pulse: Heartbeat) -> None:
    """Tell the user of images without any match, by their counts (N,)."""
    alone = [image.name for image, count in zip(images, counts.tolist(), strict=True) if count == 0]
    if alone:
        pulse.log(
            f"Nothing in {', '.join(alone)} matches the other images; where masks are given, check that they cover "
            "the object, in white. The maps of these images are not to be trusted."
        )


def projected(project: Projection, features: Tensor) -> Tensor:
    """Features (N, C, c, c) to (N, D, c, c), an image at a time: they may be large."""
    return torch.cat([project(features[index : index + 1]) for index in range(len(features))])
