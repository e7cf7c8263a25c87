"""Paint the fish: colour and opacity of canonical points, by signed distances and simple shading."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from workers.evaluation.anatomy import EYE, EYE_RADIUS, FIN_ROOTS, Fields, sample
from workers.evaluation.styles import Style, rgb

Float32 = npt.NDArray[np.float32]

# Bands across the flank: place on the long axis, lean, curvature, half width. They never move.
_BANDS = (
    (0.212, 0.10, 0.5, 0.028),
    (0.405, 0.06, -0.5, 0.036),
    (0.585, 0.05, -0.7, 0.042),
    (0.812, 0.00, 0.0, 0.018),
)
_FIN_RAYS = {"dorsal": 150.0, "anal": 130.0, "pelvic": 90.0, "tail": 70.0, "pectoral": 55.0}


@dataclass(frozen=True)
class Light:
    """Direction towards the light in the canonical frame (x, y, towards the viewer), of unit length."""

    x: float
    y: float
    z: float


@dataclass
class _Brush:
    """The points being painted and what has been painted on them so far."""

    points: Float32
    softness: float
    fields: Fields
    style: Style
    colour: Float32
    opacity: Float32
    known: dict[str, Float32] = field(default_factory=dict)

    @property
    def x(self) -> Float32:
        return self.points[:, 0]

    @property
    def y(self) -> Float32:
        return self.points[:, 1]

    def distance(self, part: str) -> Float32:
        if part not in self.known:
            self.known[part] = sample(self.fields.distance[part], self.points)
        return self.known[part]

    def cover(self, colour: Float32, opacity: Float32) -> None:
        """Lay a colour (3,) or (M, 3) over what is there with an opacity (M,)."""
        weight = opacity[:, None]
        total = opacity + self.opacity * (1 - opacity)
        mixed = weight * colour + (1 - weight) * self.opacity[:, None] * self.colour
        self.colour = (mixed / np.maximum(total, 1e-6)[:, None]).astype(np.float32)
        self.opacity = total.astype(np.float32)

    def inside(self, distance: Float32) -> Float32:
        """Antialiased membership (M,) of a signed distance."""
        membership: Float32 = np.clip(0.5 - distance / self.softness, 0, 1)
        return membership


def paint_fish(
    points: npt.NDArray[np.float64], *, softness: float, fields: Fields, style: Style, light: Light
) -> tuple[Float32, Float32]:
    """Colour (M, 3) and opacity (M,) in [0, 1] of canonical points (M, 2).

    `softness` is the width of antialiased edges in canonical units: about one sample of the picture.
    """
    count = len(points)
    brush = _Brush(
        points=points.astype(np.float32),
        softness=softness,
        fields=fields,
        style=style,
        colour=np.zeros((count, 3), np.float32),
        opacity=np.zeros(count, np.float32),
    )
    for fin in ("dorsal", "anal", "pelvic"):
        _paint_fin(brush, fin)
    _paint_body(brush, light)
    for fin in ("tail", "pectoral"):
        _paint_fin(brush, fin)
    _paint_eye(brush)
    return np.clip(brush.colour, 0, 1), brush.opacity


def _smooth(low: float, high: float, value: Float32) -> Float32:
    t = np.clip((value - low) / (high - low), 0, 1)
    stepped: Float32 = t * t * (3 - 2 * t)
    return stepped


def _mix(first: Float32, second: Float32, weight: Float32) -> Float32:
    mixed: Float32 = first + (second - first) * weight[..., None]
    return mixed


def _paint_fin(brush: _Brush, fin: str) -> None:
    edge = brush.distance(fin)
    palette = brush.style.palette
    root_x, root_y = FIN_ROOTS[fin]
    dx, dy = brush.x - root_x, brush.y - root_y
    rays = 0.5 + 0.5 * np.cos(np.arctan2(dy, dx) * _FIN_RAYS[fin] + 6 * np.hypot(dx, dy))
    reach = _smooth(0.0, 0.16, brush.distance("body")) if fin != "pectoral" else _smooth(0.05, 0.2, np.hypot(dx, dy))
    colour = _mix(rgb(palette.flank) * 0.85, rgb(palette.fin), reach)
    if fin in ("dorsal", "anal"):
        colour = _mix(colour, rgb(palette.rear), brush.style.rear * _smooth(0.60, 0.80, brush.x))
    stripe = np.exp(-(((edge + 0.045) / 0.011) ** 2)) * (0.0 if fin == "pectoral" else 0.55)
    colour = _mix(colour, rgb(palette.trim), stripe.astype(np.float32))
    margin = _smooth(-0.022, -0.012, edge) * (0.35 if fin == "pectoral" else 0.9)
    colour = _mix(colour, rgb(palette.trim), margin)
    colour = colour * (0.66 + 0.42 * rays[:, None])
    clear = 0.62 if fin == "pectoral" else 0.93
    opacity = brush.inside(edge) * (clear - 0.2 * (1 - rays) * reach)
    if fin == "tail":
        opacity = opacity * _smooth(0.822, 0.860, brush.x)
    if fin == "pectoral":
        _shade_under(brush, edge)
    brush.cover(colour, opacity)


def _shade_under(brush: _Brush, edge: Float32) -> None:
    """The soft shadow of the pectoral fin on the body."""
    brush.colour *= 1 - 0.38 * _smooth(0.03, -0.02, edge)[:, None]


def _paint_body(brush: _Brush, light: Light) -> None:
    edge = brush.distance("body")
    brush.colour *= 1 - 0.45 * _smooth(0.045, 0.0, edge)[:, None]
    colour = _bands(brush, _gill_and_mouth(brush, _pattern(brush, _ground(brush), edge)))
    brush.cover(_shade(brush, colour, light, edge), brush.inside(edge))


def _ground(brush: _Brush) -> Float32:
    palette, x = brush.style.palette, brush.x
    half = 0.235 * np.clip(np.sin(np.pi * np.clip((x - 0.02) / 0.93, 0, 1)), 0.25, 1)
    height = (brush.y - 0.51) / half
    colour = _mix(rgb(palette.back), rgb(palette.flank), _smooth(-0.85, -0.1, height))
    colour = _mix(colour, rgb(palette.belly), _smooth(0.1, 0.85, height))
    return _mix(colour, rgb(palette.rear), brush.style.rear * _smooth(0.66, 0.72, x + 0.25 * (brush.y - 0.52) ** 2))


def _pattern(brush: _Brush, colour: Float32, edge: Float32) -> Float32:
    style = brush.style
    a = brush.x / style.pattern_cell + style.pattern_phase[0]
    b = brush.y / style.pattern_cell + style.pattern_phase[1]
    weight = _PATTERN_WEIGHTS[style.pattern](a, b)
    calm = _smooth(0.27, 0.36, brush.x) * _smooth(0.80, 0.74, brush.x) * _smooth(-0.004, -0.03, edge)
    tint = rgb(style.palette.trim if style.pattern in ("spots", "maze") else style.palette.band)
    return _mix(colour, tint, style.pattern_strength * weight * calm)


def _spots(a: Float32, b: Float32) -> Float32:
    row = np.floor(b)
    shifted = a + 0.5 * (row % 2)
    jitter = np.sin(12.9 * np.floor(shifted) + 78.2 * row) * 0.16
    return _smooth(0.34, 0.24, np.hypot(shifted % 1 - 0.5 + jitter, b % 1 - 0.5))


def _lines(a: Float32, b: Float32) -> Float32:
    return _smooth(0.25, 0.65, np.sin(2 * np.pi * 0.8 * (b + 0.22 * np.sin(0.9 * a))))


def _maze(a: Float32, b: Float32) -> Float32:
    waves = np.sin(2.9 * a + 1.9 * np.sin(1.3 * b)) + np.sin(2.9 * b + 1.9 * np.sin(1.7 * a + 1))
    return _smooth(0.15, 0.5, waves)


def _speckles(a: Float32, b: Float32) -> Float32:
    return 0.8 * _spots(1.7 * a, 1.7 * b)


def _plain(a: Float32, b: Float32) -> Float32:
    return np.zeros_like(a + b)


_PATTERN_WEIGHTS = {"plain": _plain, "spots": _spots, "lines": _lines, "maze": _maze, "speckles": _speckles}


def _bands(brush: _Brush, colour: Float32) -> Float32:
    palette = brush.style.palette
    height = brush.y - 0.515
    halo = 0.5 * rgb(palette.belly) + 0.5
    for (place, lean, curve, half), opacity in zip(_BANDS, brush.style.bands, strict=True):
        gap = np.abs(brush.x - place - lean * height - curve * height**2) - half
        colour = _mix(colour, halo, 0.75 * opacity * _smooth(0.013, 0.009, gap))
        colour = _mix(colour, rgb(palette.band), opacity * _smooth(0.002, -0.002, gap))
    return colour


def _gill_and_mouth(brush: _Brush, colour: Float32) -> Float32:
    x, y = brush.x, brush.y
    gill = x - 0.330 + 1.9 * (y - 0.525) ** 2 + 0.05 * (y - 0.525)
    span = _smooth(0.185, 0.13, np.abs(y - 0.525))
    colour = colour * (1 - 0.5 * span * np.exp(-(((gill - 0.004) / 0.006) ** 2)))[:, None]
    colour = colour * (1 - 0.22 * span * _smooth(0.05, 0.0, gill) * (gill > 0))[:, None]
    colour = colour * (1 + 0.16 * span * np.exp(-(((gill + 0.010) / 0.006) ** 2)))[:, None]
    mouth = y - 0.552 - 0.32 * (x - 0.08)
    lips = np.exp(-((mouth / 0.0045) ** 2)) * _smooth(0.150, 0.135, x)
    colour = colour * (1 - 0.7 * lips)[:, None]
    line = y - 0.445 + 0.32 * np.sin(np.pi * np.clip((x - 0.33) / 0.98, 0, 1)) ** 2 * (0.72 - x)
    dashes = np.exp(-((line / 0.0035) ** 2)) * (np.sin(x * 420) > -0.2) * _smooth(0.34, 0.37, x) * _smooth(0.84, 0.8, x)
    shaded: Float32 = colour * (1 - 0.3 * dashes)[:, None]
    return shaded


def _shade(brush: _Brush, colour: Float32, light: Light, edge: Float32) -> Float32:
    """Diffuse light on the pillow-shaped body with scales, a sheen and a highlight."""
    ripple, ridge = _scales(brush)
    nx = -0.16 * sample(brush.fields.slope_x, brush.points) + 0.22 * ripple
    ny = -0.16 * sample(brush.fields.slope_y, brush.points)
    nz = 1 / np.sqrt(nx**2 + ny**2 + 1)
    nx, ny = nx * nz, ny * nz
    diffuse = np.clip(nx * light.x + ny * light.y + nz * light.z, 0, 1)
    half = np.array([light.x, light.y, light.z + 1]) / np.sqrt(2 + 2 * light.z)
    mirror = np.clip(nx * half[0] + ny * half[1] + nz * half[2], 0, 1)
    glow = brush.style.gloss * (0.30 * mirror**10 + 0.65 * mirror**80)
    bounce = 0.16 * np.clip(-nx * light.x - ny * light.y, 0, 1)
    tone = (0.46 + bounce + 0.74 * diffuse) * (1 - 0.24 * ridge) * (1 - 0.35 * _smooth(-0.014, 0.0, edge))
    lit: Float32 = colour * tone[:, None] + glow[:, None] * np.array([1.0, 0.97, 0.9], np.float32)
    return lit


def _scales(brush: _Brush) -> tuple[Float32, Float32]:
    """Tilt and dark rims of overlapping scales, (M,) each; they fade out on the head and the tail."""
    a, b = (brush.x - 0.3) / 0.021, (brush.y - 0.5) / 0.021
    row = np.floor(b * 2)
    local_x = (a + 0.5 * (row % 2)) % 1 - 0.5
    local_y = b * 2 - row - 0.5
    arc = local_x - 0.30 + 0.9 * local_y**2
    weight = brush.style.scales * _smooth(0.32, 0.40, brush.x) * _smooth(0.86, 0.78, brush.x)
    ridge = weight * np.exp(-((arc / 0.14) ** 2))
    ripple = weight * (local_x + 0.1) * 0.8
    return ripple.astype(np.float32), ridge.astype(np.float32)


def _paint_eye(brush: _Brush) -> None:
    palette = brush.style.palette
    dx, dy = brush.x - EYE[0], brush.y - EYE[1]
    radius = np.hypot(dx, dy) / EYE_RADIUS
    width = brush.softness / EYE_RADIUS

    def disc(size: float, r: Float32 = radius) -> Float32:
        covered: Float32 = np.clip(0.5 - (r - size) / width, 0, 1)
        return covered

    dark = np.full(3, 0.04, np.float32)
    brush.cover(dark, 0.85 * disc(1.12))
    iris = rgb(palette.iris) * (0.72 + 0.28 * np.clip(radius, 0, 1)[:, None] - 6.0 * dy[:, None])
    brush.cover(iris.astype(np.float32), disc(0.98))
    brush.cover(dark, disc(0.60))
    glint = np.hypot(dx + 0.010, dy + 0.012) / EYE_RADIUS
    brush.cover(np.ones(3, np.float32), 0.95 * disc(0.19, glint.astype(np.float32)))
    low = np.hypot(dx - 0.009, dy - 0.011) / EYE_RADIUS
    brush.cover(np.ones(3, np.float32), 0.35 * disc(0.12, low.astype(np.float32)))
