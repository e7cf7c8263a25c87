"""How far found camera poses are from known ones, whatever the frames that both are told in.

A method finds poses in a frame of its own, so the two are first aligned by a similarity: turned, scaled and moved.

Sources: the protocol of BARF (Lin et al., arXiv 2104.06405) and of those that measure on NAVI (Jampani et al., arXiv
2306.09109).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from alignment.camera import Camera

Float64 = npt.NDArray[np.float64]
Alignment = Literal["rotation", "barf"]
ScaleRule = Literal["rms", "least_squares"]
ACCURACY_DEG = (10.0, 15.0, 30.0)
FEWEST = {"rotation": 1, "barf": 3}
_ROUNDS = 10
_SPREAD_OF_AXES = 1e-4


class TooFewPosesError(ValueError):
    """Fewer images have both a found and a known pose than the alignment needs."""


@dataclass(frozen=True)
class Similarity:
    """X -> scale * rotation @ X + translation."""

    scale: float
    rotation: Float64
    """(3, 3), of determinant 1."""
    translation: Float64
    """(3,)."""

    def __call__(self, points: Float64) -> Float64:
        """Move points (..., 3)."""
        return np.asarray(self.scale * points @ self.rotation.T + self.translation)


@dataclass(frozen=True)
class PoseReport:
    """Errors of N poses, after alignment; those of one image are None where its pose is not known or was not found."""

    rotation_deg: tuple[float | None, ...]
    """Per image the angle in [0, 180] between the found and the known rotation."""
    translation: tuple[float | None, ...]
    """Per image a distance, in units of the known cameras' distance; see `pose_report`."""
    known: int
    """Images whose pose is known."""
    missing: int
    """Of those, images of which no pose was found."""
    mean_rotation_deg: float
    median_rotation_deg: float
    mean_translation: float
    median_translation: float
    accuracy: dict[float, float]
    """By angle in degrees: share of the known poses that were found and are at most so far off."""
    to_truth: Similarity
    """From the frame of the found poses to that of the known ones."""


@dataclass(frozen=True)
class _Poses:
    """M cameras."""

    rotations: Float64
    """(M, 3, 3) world to camera, OpenCV axes."""
    centres: Float64
    """(M, 3) in the world."""

    @property
    def translations(self) -> Float64:
        """The world's origin in each camera's axes, (M, 3)."""
        return np.asarray(-np.einsum("mij,mj->mi", self.rotations, self.centres))


def pose_report(
    found: Sequence[Camera | None],
    truth: Sequence[Camera | None],
    *,
    alignment: Alignment = "rotation",
    symmetries: Sequence[npt.NDArray[np.floating]] | None = None,
) -> PoseReport:
    """Align found poses to known ones and measure what remains.

    `rotation`, for pictures of one object, from few cameras too: the turn is the chordal mean of the differences
    between rotations; scale and shift are then least squares on the cameras' centres. Translation errors are
    distances between centres.

    `barf`, to compare with published figures: Procrustes on the centres alone, with the ratio of their RMS radii as
    scale. Translation errors are, as there, distances between the world's origins in the cameras' axes, so a wrong
    rotation counts in them once more. Unlike there, mirrored centres get the best rotation.

    Args:
        found: N cameras; None where none was found.
        truth: N cameras; None where nothing is known, which leaves the image out.
        alignment: which of the two.
        symmetries: rotations (3, 3) about the known frame's origin that leave the object as it is; the identity need
            not be among them. Each image is compared with the nearest of the poses that look the same.

    Returns:
        Means and medians over the images with both poses. The unit of translation is the RMS distance of those known
        cameras from the point that they look at, by least squares; from the frame's origin where they look at none.

    Raises:
        TooFewPosesError: fewer common poses than 1 for `rotation`, 3 for `barf`.
        ValueError: the two differ in length.
    """
    pairs = list(zip(found, truth, strict=True))
    common = [index for index, pair in enumerate(pairs) if None not in pair]
    if len(common) < FEWEST[alignment]:
        raise TooFewPosesError(
            f"{len(common)} images have both a found and a known pose, and alignment {alignment!r} needs at least "
            f"{FEWEST[alignment]}; give more known poses" + (", or align by 'rotation'" if alignment == "barf" else "")
        )
    poses, known = (_poses([pair[side] for pair in (pairs[index] for index in common)]) for side in (0, 1))
    unit = _unit(known)
    known = _nearest_equivalents(poses, known, symmetries or [])
    to_truth = _by_centres(poses, known) if alignment == "barf" else _by_rotations(poses, known)
    aligned = _Poses(poses.rotations @ to_truth.rotation.T, to_truth(poses.centres))
    angles = angles_between_deg(aligned.rotations, known.rotations)
    sides = [each.translations if alignment == "barf" else each.centres for each in (aligned, known)]
    distances = np.linalg.norm(sides[0] - sides[1], axis=1) / unit
    return _report(pairs, common, angles, distances, to_truth)


def procrustes(points: Float64, targets: Float64, *, scale: ScaleRule = "least_squares") -> Similarity:
    """Find the similarity that brings points (P, 3) nearest to targets (P, 3); P >= 3, not on one line.

    Args:
        points: to be moved.
        targets: where they belong.
        scale: `least_squares` (Umeyama 1991), or `rms`, the ratio of the radii, which counts noise as size.
    """
    middle, goal = points.mean(axis=0), targets.mean(axis=0)
    centred, wanted = points - middle, targets - goal
    rotation = nearest_rotation(wanted.T @ centred)
    spread = float((centred**2).sum())
    if scale == "rms":
        factor = float(np.sqrt((wanted**2).sum() / spread)) if spread else 1.0
    else:
        factor = max(float((wanted * (centred @ rotation.T)).sum()) / spread, 0.0) if spread else 1.0
    return Similarity(factor, rotation, goal - factor * rotation @ middle)


def nearest_rotation(matrix: Float64) -> Float64:
    """The rotation nearest to a matrix (3, 3) in the Frobenius norm, never a reflection (Kabsch 1976)."""
    left, _, right = np.linalg.svd(matrix)
    sign = np.sign(np.linalg.det(left @ right))
    return np.asarray(left @ np.diag([1.0, 1.0, sign]) @ right)


def mean_rotation(found: Float64, truth: Float64) -> Float64:
    """The rotation Q (3, 3) that minimises the sum of |R_i Q - R'_i|^2 over rotations (M, 3, 3); the chordal mean."""
    return nearest_rotation(np.einsum("mji,mjk->ik", found, truth))


def angles_between_deg(first: Float64, second: Float64) -> Float64:
    """Angles (...) in [0, 180] between rotations (..., 3, 3); exact near 0 and 180, where the cosine alone is not."""
    relative = np.swapaxes(first, -1, -2) @ second
    skew = relative - np.swapaxes(relative, -1, -2)
    sine = np.sqrt(skew[..., 2, 1] ** 2 + skew[..., 0, 2] ** 2 + skew[..., 1, 0] ** 2) / 2
    cosine = (np.trace(relative, axis1=-2, axis2=-1) - 1) / 2
    return np.asarray(np.degrees(np.arctan2(sine, cosine)))


def _poses(cameras: Sequence[Camera | None]) -> _Poses:
    known = [camera for camera in cameras if camera is not None]
    matrices = np.stack([camera.world_to_camera for camera in known])
    return _Poses(matrices[:, :3, :3], np.stack([camera.to_world[:3, 3] for camera in known]).astype(np.float64))


def _by_rotations(poses: _Poses, known: _Poses) -> Similarity:
    """Turn by the chordal mean, then scale and move by least squares on the centres."""
    rotation = mean_rotation(poses.rotations, known.rotations).T
    turned = poses.centres @ rotation.T
    middle, goal = turned.mean(axis=0), known.centres.mean(axis=0)
    spread = float(((turned - middle) ** 2).sum())
    scale = max(float(((turned - middle) * (known.centres - goal)).sum()) / spread, 0.0) if spread else 1.0
    return Similarity(scale, rotation, goal - scale * middle)


def _by_centres(poses: _Poses, known: _Poses) -> Similarity:
    return procrustes(poses.centres, known.centres, scale="rms")


def _nearest_equivalents(poses: _Poses, known: _Poses, symmetries: Sequence[npt.NDArray[np.floating]]) -> _Poses:
    """Replace known poses by those that look the same and fit best together with the found ones.

    The turn between the frames is first taken from the one image that explains the others best, then, in turns, each
    image takes its nearest pose and the turn is the chordal mean.
    """
    if not len(symmetries):
        return known
    group = np.stack([np.eye(3), *(np.asarray(each, dtype=np.float64) for each in symmetries)])
    options = known.rotations[:, None] @ group
    turns = np.swapaxes(poses.rotations, 1, 2) @ known.rotations
    costs = [_angles(poses, turn, options).min(axis=1).sum() for turn in turns]
    turn = turns[int(np.argmin(costs))]
    rows = np.arange(len(options))
    for _ in range(_ROUNDS):
        chosen = _angles(poses, turn, options).argmin(axis=1)
        turn = mean_rotation(poses.rotations, options[rows, chosen])
    return _Poses(options[rows, chosen], np.einsum("mji,mj->mi", group[chosen], known.centres))


def _angles(poses: _Poses, turn: Float64, options: Float64) -> Float64:
    """Angles (M, S) between found rotations, turned, and the options (M, S, 3, 3)."""
    return angles_between_deg((poses.rotations @ turn)[:, None], options)


def _unit(known: _Poses) -> float:
    """RMS distance of cameras from the point that they look at."""
    axes = known.rotations[:, 2]
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    system = across.mean(axis=0)
    middle = np.zeros(3)
    if np.linalg.eigvalsh(system)[0] > _SPREAD_OF_AXES:
        middle = np.linalg.solve(system, np.einsum("mij,mj->i", across, known.centres) / len(axes))
    distance = float(np.sqrt(((known.centres - middle) ** 2).sum(axis=1).mean()))
    return distance or 1.0


def _report(
    pairs: Sequence[tuple[Camera | None, Camera | None]],
    common: Sequence[int],
    angles: Float64,
    distances: Float64,
    to_truth: Similarity,
) -> PoseReport:
    rotation: list[float | None] = [None] * len(pairs)
    translation: list[float | None] = [None] * len(pairs)
    for index, angle, distance in zip(common, angles.tolist(), distances.tolist(), strict=True):
        rotation[index], translation[index] = angle, distance
    known = sum(camera is not None for _, camera in pairs)
    return PoseReport(
        rotation_deg=tuple(rotation),
        translation=tuple(translation),
        known=known,
        missing=known - len(common),
        mean_rotation_deg=float(angles.mean()),
        median_rotation_deg=float(np.median(angles)),
        mean_translation=float(distances.mean()),
        median_translation=float(np.median(distances)),
        accuracy={limit: float((angles <= limit).sum()) / known for limit in ACCURACY_DEG},
        to_truth=to_truth,
    )
