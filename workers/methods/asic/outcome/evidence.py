"""What speaks for the maps of each image: its matches, and how many of them agree."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.geometry.joint_splines import PairedPoints
from workers.imaging.frames import WorkingFrames, frame_to_upload
from workers.methods.asic.aligned import Aligned
from workers.methods.asic.flips import pair_support


@dataclass(frozen=True)
class Evidence:
    """Of N images.

    Attributes:
        counts: (N,), matches that each takes part in.
        consistency: (N,), see `consistency`.
        rows: (M, 7), all matches: image, x and y in its uploaded pixels, the same of the other, and trust in [0, 1].
    """

    counts: Tensor
    consistency: Tensor
    rows: Tensor


def evidence(aligned: Aligned, frames: WorkingFrames) -> Evidence:
    """What speaks for an alignment of the images in these frames."""
    matches, count = aligned.matches, len(aligned.places)
    ends = []
    for of, points in ((matches.first, matches.first_points), (matches.second, matches.second_points)):
        side = torch.where(aligned.mirrored[of], -1.0, 1.0).to(points)
        ends.append(points * torch.stack([side, torch.ones_like(side)], dim=1).unsqueeze(1))
    return Evidence(
        match_counts(matches, count),
        consistency(matches, aligned.trust, count),
        match_rows(matches, ends[0], ends[1], aligned.trust, frames),
    )


def match_counts(matches: PairedPoints, images: int) -> Tensor:
    """How many matches each image (N,) takes part in."""
    counts = (matches.weights > 0).sum(dim=1)
    total = torch.zeros(images, dtype=torch.int64, device=counts.device)
    return total.index_add(0, matches.first, counts).index_add(0, matches.second, counts)


def consistency(matches: PairedPoints, trust: Tensor, images: int) -> Tensor:
    """How many matches of each image (N,) agree with the maps, as a share of those that pairs alone can explain.

    What a pair alone can explain is what agrees with the one similarity that suits it best. Maps that ignore the
    matches, such as the identity, score low, however well their cycles close; an image without matches scores 0.
    At most 1.
    """
    explained, possible = (torch.zeros(images, dtype=torch.float64, device=trust.device) for _ in range(2))
    alone = pair_support(matches)
    for ends in (matches.first, matches.second):
        explained.index_add_(0, ends, trust.sum(dim=1).double())
        possible.index_add_(0, ends, alone)
    return (explained / possible.clamp(min=1e-6)).clamp(max=1).float()


def match_rows(
    matches: PairedPoints, first_points: Tensor, second_points: Tensor, trust: Tensor, frames: WorkingFrames
) -> Tensor:
    """The rows of `Evidence` for matches whose ends lie at these points (P, K, 2) of the frames as uploaded."""
    kept, columns = matches.weights > 0, []
    for ends, points in ((matches.first, first_points), (matches.second, second_points)):
        pixels = [frame_to_upload(own, frames.boxes[i]) for i, own in zip(ends.tolist(), points, strict=True)]
        columns += [ends.view(-1, 1, 1).expand(*kept.shape, 1).to(points), torch.stack(pixels).to(points)]
    return torch.cat([*columns, trust.unsqueeze(2).to(first_points)], dim=2)[kept].float()
