"""The twenty defects of the drawn magnetic tiles: each a shape or texture of its own.

A defect is a patch of signed grey-level changes that is added to a tile's surface. Its outline is
exact: a pixel changes by at least :data:`FAINTEST` grey levels or not at all. The box around the
changed pixels is therefore the box that a careful annotator would draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

#: The smallest change, in grey levels, that counts as part of a mark.
FAINTEST = 9.0

Patch = np.ndarray  # (height, width) float32: grey levels to add; 0 where the surface stays


class DrawnDefect(NamedTuple):
    """How one class is drawn, and where on a tile it is found."""

    place: str  # "plane" anywhere on the tile, "edge" hanging from its top edge, "corner" top left
    draw: Callable[[np.random.Generator, float], Patch]


def draw_defect(name: str, chance: np.random.Generator, unit: float) -> Patch:
    """Draw one defect by itself.

    Parameters
    ----------
    name : str
        A key of :data:`DRAWN_DEFECTS`.
    chance : numpy.random.Generator
        Where size, outline and texture come from.
    unit : float
        Length of one design pixel (a tile is designed 160 wide) in drawn pixels.

    Returns
    -------
    numpy.ndarray
        (height, width) float32: grey levels to add, cut to the smallest box with a change in it.
        Edge marks hang from row 0, corner marks sit at row 0, column 0.

    Examples
    --------
    >>> patch = draw_defect("gas hole", np.random.default_rng(0), 1.0)
    >>> bool(patch.min() < -40), bool((abs(patch[patch != 0]) >= FAINTEST).all())
    (True, True)
    """
    place, draw = DRAWN_DEFECTS[name]
    room = math.ceil(2 * unit)
    # The lens blurs a mark on all sides but those where the tile ends.
    patch = cv2.copyMakeBorder(
        draw(chance, unit).astype(np.float32),
        room if place == "plane" else 0,
        room,
        0 if place == "corner" else room,
        room,
        cv2.BORDER_CONSTANT,
    )
    patch = cv2.GaussianBlur(patch, (0, 0), 0.65 * unit, borderType=cv2.BORDER_REPLICATE)
    patch[np.abs(patch) < FAINTEST] = 0.0
    rows, columns = np.flatnonzero(patch.any(1)), np.flatnonzero(patch.any(0))
    return patch[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


# --- strokes and outlines -------------------------------------------------------------------

_SHIFT = 4  # OpenCV's fixed-point bits: sixteenths of a pixel


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(points) * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2)


def _stroke(shape: tuple[int, int], points: np.ndarray, width: float) -> np.ndarray:
    """Share of each pixel covered by a line through ``points`` (n, 2) of x, y."""
    canvas = np.zeros(shape, np.uint8)
    thick = max(1, round(width))
    cv2.polylines(canvas, [_fixed(points)], False, 255, thick, cv2.LINE_AA, _SHIFT)
    return canvas.astype(np.float32) / 255


def _fill(shape: tuple[int, int], points: np.ndarray) -> np.ndarray:
    """Share of each pixel inside the polygon ``points`` (n, 2) of x, y."""
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [_fixed(points)], 255, cv2.LINE_AA, _SHIFT)
    return canvas.astype(np.float32) / 255


def _jagged(
    chance: np.random.Generator, length: float, bend: float, steps: int, lean: float
) -> np.ndarray:
    """A crack's path of ``steps`` pieces, (steps + 1, 2), starting at the origin."""
    angles = lean + np.clip(np.cumsum(chance.normal(0, bend, steps)), -1.0, 1.0)
    angles += chance.normal(0, bend, steps)
    pieces = chance.uniform(0.6, 1.4, steps)
    pieces *= length / pieces.sum()
    path = np.cumsum(np.stack([np.cos(angles), np.sin(angles)], 1) * pieces[:, None], 0)
    return np.concatenate([np.zeros((1, 2)), path])


def _framed(*paths: np.ndarray, room: float) -> tuple[tuple[int, int], list[np.ndarray]]:
    """Shift paths so that all lie ``room`` pixels inside a canvas of the returned shape."""
    every = np.concatenate(paths)
    low = every.min(0) - room
    width, height = np.ceil(every.max(0) + room - low).astype(int)
    return (int(height), int(width)), [path - low for path in paths]


def _outline(
    chance: np.random.Generator, across: float, down: float, rough: float, corners: int = 28
) -> np.ndarray:
    """A closed, irregular outline around the origin with half-axes ``across`` and ``down``."""
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radius = np.ones(corners)
    for wave in range(2, 7):
        radius += rough / wave * chance.normal() * np.cos(wave * turn + chance.uniform(0, 6.3))
    radius = np.clip(radius, 0.55, 1.5) * (1 + rough * 0.25 * chance.uniform(-1, 1, corners))
    return np.stack([across * radius * np.cos(turn), down * radius * np.sin(turn)], 1)


def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return rows.astype(np.float32), columns.astype(np.float32)


def _rim(inside: np.ndarray, width: float) -> np.ndarray:
    """1 on the outline of a filled shape, falling to 0 over ``width`` pixels inwards."""
    deep = cv2.distanceTransform((inside > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    return np.where(deep > 0, np.clip(1.4 - deep / width, 0, 1), 0).astype(np.float32)


def _rough(chance: np.random.Generator, shape: tuple[int, int], coarse: float) -> np.ndarray:
    """Blotches about ``coarse`` pixels wide, roughly in -1..1: the look of a fracture."""
    small = (max(2, math.ceil(shape[0] / coarse)), max(2, math.ceil(shape[1] / coarse)))
    field = chance.uniform(-1, 1, small).astype(np.float32)
    return cv2.resize(field, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


# --- the twenty classes ---------------------------------------------------------------------


def _white_crack(chance: np.random.Generator, u: float) -> Patch:
    """A bright, hair-thin zigzag with a dark shadow on one side."""
    path = _jagged(chance, chance.uniform(45, 85) * u, 0.45, 9, chance.uniform(-1.5, 1.5))
    shape, (path,) = _framed(path, room=3 * u + 2)
    wide = np.maximum(_stroke(shape, path, u), _stroke(shape, path[2:-3], 2 * u))
    return 105 * wide - 45 * _stroke(shape, path + 2.2 * u, 1.2 * u)


def _standard_chipping(chance: np.random.Generator, u: float) -> Patch:
    """A shell-shaped bite out of the edge: dark hollow, bright lip, ripples around the bite."""
    across, down = chance.uniform(12, 21) * u, chance.uniform(11, 18) * u
    outline = _outline(chance, across, down, 0.28)
    shape, (outline,) = _framed(outline, room=2)
    inside = _fill(shape, outline)
    middle = shape[0] // 2
    rows, columns = _grid(shape)
    rings = np.cos(np.hypot(rows - middle, columns - shape[1] / 2) / (1.5 * u))
    delta = inside * (-52 + 14 * rings) + 105 * _rim(inside, 2.6 * u)
    return delta[middle:]


def _standard_crack(chance: np.random.Generator, u: float) -> Patch:
    """A dark, jagged crack, wide in the middle, with a short side crack."""
    path = _jagged(chance, chance.uniform(48, 92) * u, 0.36, 12, chance.uniform(-1.57, 1.57))
    start = path[int(chance.integers(4, 9))]
    side = _jagged(chance, 11 * u, 0.3, 3, chance.uniform(-3.1, 3.1)) + start
    shape, (path, side) = _framed(path, side, room=4 * u + 2)
    dark = np.maximum(_stroke(shape, path, u), _stroke(shape, side, u))
    dark = np.maximum(dark, _stroke(shape, path[2:-2], 2 * u))
    dark = np.maximum(dark, _stroke(shape, path[4:-5], 3 * u))
    return -92 * dark + 22 * _stroke(shape, path + 2.4 * u, u) * (dark < 0.2)


def _chamfer(chance: np.random.Generator, u: float) -> Patch:
    """A corner cut off straight: a bright flat triangle."""
    across, down = chance.uniform(17, 32) * u, chance.uniform(17, 32) * u
    shape = (math.ceil(down) + 1, math.ceil(across) + 1)
    inside = _fill(shape, np.array([[0, 0], [across, 0], [0, down]]))
    line = _stroke(shape, np.array([[across, 0], [0, down]]), 2 * u)
    return inside * 48 - line * 90


def _multifaceted(chance: np.random.Generator, u: float) -> Patch:
    """A pyramid-like break: five to seven flat facets, each reflecting another grey."""
    sides = int(chance.integers(5, 8))
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False) + chance.uniform(0, 1.2)
    turn += chance.uniform(-0.25, 0.25, sides)
    radius = chance.uniform(15, 23) * u * chance.uniform(0.7, 1.1, sides)
    around = np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1)
    apex = chance.uniform(-5, 5, (1, 2)) * u
    shape, (around, apex) = _framed(around, apex, room=2)
    delta = np.zeros(shape, np.float32)
    light = chance.uniform(0, 2 * np.pi)
    for k in range(sides):
        facet = _fill(shape, np.stack([apex[0], around[k], around[(k + 1) % sides]]))
        shade = 30 * np.cos(turn[k] - light) + (36, -36)[k % 2]
        shade += math.copysign(12, shade)  # no facet may vanish in the surface
        delta = np.where(facet > 0.5, np.float32(shade), delta)
    return delta


def _crystallization(chance: np.random.Generator, u: float) -> Patch:
    """Frost: bright needles growing out of one point, with side needles and a pale core."""
    needles = []
    for turn in np.linspace(0, 2 * np.pi, 9, endpoint=False) + chance.uniform(-0.3, 0.3, 9):
        way = np.array([np.cos(turn), np.sin(turn)])
        reach = chance.uniform(9, 25) * u
        needles.append(np.stack([np.zeros(2), way * reach]))
        for share in chance.uniform(0.3, 0.9, 2):
            side = turn + chance.choice([-1, 1]) * chance.uniform(0.5, 1.0)
            branch = np.array([np.cos(side), np.sin(side)]) * reach * chance.uniform(0.25, 0.5)
            needles.append(np.stack([way * reach * share, way * reach * share + branch]))
    shape, needles = _framed(*needles, room=2)
    bright = np.zeros(shape, np.float32)
    for needle in needles:
        bright = np.maximum(bright, _stroke(shape, needle, 1.1 * u))
    return 92 * bright


def _contour_chipping(chance: np.random.Generator, u: float) -> Patch:
    """A long run of small bites along the edge: a dark saw."""
    length, depth = chance.uniform(50, 85) * u, chance.uniform(7, 11) * u
    teeth = int(length / (6 * u))
    across = np.linspace(0, length, 2 * teeth + 1)
    low = np.where(np.arange(2 * teeth + 1) % 2, depth, depth * 0.25)
    low = low * chance.uniform(0.7, 1.05, 2 * teeth + 1)
    points = np.concatenate([[[0, 0]], np.stack([across, low], 1), [[length, 0]]])
    shape = (math.ceil(depth * 1.1) + 2, math.ceil(length) + 1)
    inside = _fill(shape, points)
    return -72 * inside + 40 * _stroke(shape, points[1:-1], 1.0) * (inside < 0.9)


def _superficial_chipping(chance: np.random.Generator, u: float) -> Patch:
    """A shallow flake off the plane: pale, rough, its outline barely darker."""
    outline = _outline(chance, chance.uniform(14, 24) * u, chance.uniform(9, 15) * u, 0.45)
    shape, (outline,) = _framed(outline, room=2)
    inside = _fill(shape, outline)
    flakes = np.sign(_rough(chance, shape, 3.2 * u)) * 17
    return inside * (33 + flakes) - 50 * _rim(inside, 1.3 * u)


def _ambiguity(chance: np.random.Generator, u: float) -> Patch:
    """A blurred grey cloud without any outline."""
    across, down = chance.uniform(13, 21) * u, chance.uniform(13, 21) * u
    shape = (math.ceil(4 * down), math.ceil(4 * across))
    rows, columns = _grid(shape)
    far = ((rows - 2 * down) / down) ** 2 + ((columns - 2 * across) / across) ** 2
    return -56 * np.exp(-1.4 * far)


def _plane_chipping(chance: np.random.Generator, u: float) -> Patch:
    """An angular pit in the plane: one wall in shadow, the opposite one lit."""
    outline = _outline(chance, chance.uniform(12, 19) * u, chance.uniform(12, 19) * u, 0.3, 7)
    shape, (outline,) = _framed(outline, room=2 * u + 2)
    inside = _fill(shape, outline)
    lit = inside - np.roll(inside, (-round(3 * u), -round(3 * u)), (0, 1))
    rough = _rough(chance, shape, 4 * u) * 10
    return inside * (-30 + rough) + 92 * np.clip(lit, -0.6, 1) * (inside > 0.3)


def _light_inking(chance: np.random.Generator, u: float) -> Patch:
    """A pen's wipe: a broad, pale grey stroke with drier stripes along it."""
    length, lean = chance.uniform(38, 65) * u, chance.uniform(-0.5, 0.5)
    bow = np.linspace(-1, 1, 9)
    path = np.stack([bow * length / 2, 6 * u * chance.uniform(-1, 1) * bow**2], 1)
    turn = np.array([[np.cos(lean), np.sin(lean)], [-np.sin(lean), np.cos(lean)]])
    shape, (path,) = _framed(path @ turn, room=10 * u + 2)
    wide = _stroke(shape, path, 15 * u)
    dry = [_stroke(shape, path + np.array([0, o * u]), 1.2 * u) for o in (-4.5, -1.2, 3.2)]
    return -40 * wide + 26 * np.maximum.reduce(dry) * (wide > 0.5)


def _triangular_row(chance: np.random.Generator, u: float) -> Patch:
    """Three to five equal dark triangles in a row: a tool's imprint."""
    count, side = int(chance.integers(3, 6)), chance.uniform(12, 15) * u
    lean = chance.uniform(-0.35, 0.35)
    turn = np.array([[np.cos(lean), np.sin(lean)], [-np.sin(lean), np.cos(lean)]])
    one = np.array([[0, 0], [side, 0], [side / 2, -side]])
    row = [(one + np.array([1.25 * side * k, 0])) @ turn for k in range(count)]
    shape, row = _framed(*row, room=2)
    delta = np.zeros(shape, np.float32)
    for triangle in row:
        delta -= 66 * _fill(shape, triangle)
    return delta


def _bump(chance: np.random.Generator, u: float) -> Patch:
    """A smooth swelling, lit on its upper left and in shade on its lower right."""
    across, down = chance.uniform(14, 22) * u, chance.uniform(14, 22) * u
    shape = (math.ceil(2 * down) + 2, math.ceil(2 * across) + 2)
    rows, columns = _grid(shape)
    y, x = (rows - shape[0] / 2) / down, (columns - shape[1] / 2) / across
    # The slope of the dome (1 - r^2)^2 towards the light.
    return -165 * (x + y) * np.clip(1 - x**2 - y**2, 0, None)


def _fine_cracks(chance: np.random.Generator, u: float) -> Patch:
    """Crazing: a net of thin dark lines that branch again and again."""
    paths = [_jagged(chance, chance.uniform(34, 50) * u, 0.3, 7, chance.uniform(-1, 1))]
    for side in (-1, 1, -1, 1, -1):
        trunk = paths[int(chance.integers(len(paths)))]
        start = trunk[int(chance.integers(1, len(trunk) - 1))]
        lean = chance.uniform(0.7, 1.3) * side
        paths.append(_jagged(chance, chance.uniform(15, 26) * u, 0.35, 4, lean) + start)
    shape, paths = _framed(*paths, room=2)
    dark = np.zeros(shape, np.float32)
    for path in paths:
        dark = np.maximum(dark, _stroke(shape, path, 1.0 * u))
    return -95 * dark


def _impurities(chance: np.random.Generator, u: float) -> Patch:
    """A swarm of small dark grains."""
    spread = chance.uniform(8, 13) * u
    grains = chance.normal(0, 1, (int(chance.integers(7, 13)), 2)).clip(-1.6, 1.6) * spread
    shape, (grains,) = _framed(grains, room=4 * u + 2)
    dark = np.zeros(shape, np.uint8)
    for grain in grains:
        radius = round(chance.uniform(1.2, 3.0) * u * (1 << _SHIFT))
        where = tuple(int(v) for v in _fixed(grain[None])[0, 0])
        cv2.circle(dark, where, radius, 255, -1, cv2.LINE_AA, _SHIFT)
    return -85 * (dark.astype(np.float32) / 255)


def _chipping(chance: np.random.Generator, u: float) -> Patch:
    """A fresh break at the edge: bright, glittering, with a straight slanted outline."""
    across, down = chance.uniform(22, 36) * u, chance.uniform(12, 20) * u
    shape = (math.ceil(down) + 1, math.ceil(across) + 1)
    corners = np.array([[0, 0], [0.2, 0.7], [0.45, 0.6], [0.7, 1], [1, 0]]) * [across, down]
    inside = _fill(shape, corners)
    return inside * (58 + 34 * np.sign(_rough(chance, shape, 2.4 * u)))


def _abnormal_chamfer(chance: np.random.Generator, u: float) -> Patch:
    """A corner cut off in steps: bright like a chamfer, its line a dark staircase."""
    reach, steps = chance.uniform(26, 38) * u, 4
    stairs = [[reach, 0.0]]
    for k in range(steps):
        stairs += [[reach * (1 - (k + 1) / steps), reach * k / steps]]
        stairs += [[reach * (1 - (k + 1) / steps), reach * (k + 1) / steps]]
    points = np.array(stairs) + 2 * u
    shape = (math.ceil(reach + 4 * u),) * 2
    inside = _fill(shape, np.concatenate([[[0, 0], [points[0, 0], 0]], points, [[0, reach]]]))
    return inside * 40 - 105 * _stroke(shape, points, 2.6 * u)


def _crack(chance: np.random.Generator, u: float) -> Patch:
    """A clean split: a long straight dark line with a bright one beside it."""
    lean = chance.uniform(-1.3, 1.3)
    length = chance.uniform(60, 95) * u
    path = np.array([[0, 0], [np.cos(lean) * length, np.sin(lean) * length]])
    shape, (path,) = _framed(path, room=5 * u + 2)
    beside = np.array([-np.sin(lean), np.cos(lean)]) * 3.0 * u
    return -80 * _stroke(shape, path, 3 * u) + 72 * _stroke(shape, path + beside, 2 * u)


def _gas_hole(chance: np.random.Generator, u: float) -> Patch:
    """A round black pore with a lit lip on its lower right."""
    across, down = chance.uniform(7, 12, 2) * u
    half = math.ceil(max(across, down) + 4 * u)
    rows, columns = _grid((2 * half + 1, 2 * half + 1))
    y, x = (rows - half) / down, (columns - half) / across
    far = np.hypot(x, y)
    lip = 30 + 45 * np.clip((x + y) / np.maximum(far, 0.1) / 1.4, -0.4, 1)
    return np.where(far < 1, -75 - 25 * (1 - far), np.where(far < 1.27, lip, 0.0))


def _stains(chance: np.random.Generator, u: float) -> Patch:
    """A dried drop: a dark uneven ring around an almost clean middle."""
    outline = _outline(chance, chance.uniform(17, 27) * u, chance.uniform(15, 24) * u, 0.3)
    shape, (outline,) = _framed(outline, room=2)
    inside = _fill(shape, outline)
    uneven = 1 + 0.4 * _rough(chance, shape, 9 * u)
    return -15 * inside - 44 * uneven * _rim(inside, 6 * u)


#: Class name -> how it is drawn, in the order of the published table of counts.
DRAWN_DEFECTS: dict[str, DrawnDefect] = {
    "white crack": DrawnDefect("plane", _white_crack),
    "standard chipping": DrawnDefect("edge", _standard_chipping),
    "standard crack": DrawnDefect("plane", _standard_crack),
    "chamfer": DrawnDefect("corner", _chamfer),
    "multifaceted": DrawnDefect("plane", _multifaceted),
    "crystallization": DrawnDefect("plane", _crystallization),
    "contour chipping": DrawnDefect("edge", _contour_chipping),
    "superficial chipping": DrawnDefect("plane", _superficial_chipping),
    "ambiguity": DrawnDefect("plane", _ambiguity),
    "plane chipping": DrawnDefect("plane", _plane_chipping),
    "light inking": DrawnDefect("plane", _light_inking),
    "triangular row": DrawnDefect("plane", _triangular_row),
    "bump": DrawnDefect("plane", _bump),
    "fine cracks": DrawnDefect("plane", _fine_cracks),
    "impurities": DrawnDefect("plane", _impurities),
    "chipping": DrawnDefect("edge", _chipping),
    "abnormal chamfer": DrawnDefect("corner", _abnormal_chamfer),
    "crack": DrawnDefect("plane", _crack),
    "gas hole": DrawnDefect("plane", _gas_hole),
    "stains": DrawnDefect("plane", _stains),
}
