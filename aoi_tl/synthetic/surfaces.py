"""Drawn surfaces for classification: lithium cells, hot-rolled steel, SEM images of cathodes.

They stand in for data that is not public, so that every command runs without a download. They are
simple on purpose: what an arm gains on them says nothing about real cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from aoi_tl.data.images import write_image

Drawing = Callable[[np.ndarray, np.random.Generator], np.ndarray]

# Table 1 of the CDG paper.
LITHIUM_COUNTS: Mapping[str, Mapping[str, int]] = {
    "train": {"No Defect": 14, "Over Melting": 2, "Damaged": 2, "End Recess": 1, "Inked": 1},
    "test": {"No Defect": 56, "Over Melting": 8, "Damaged": 8, "End Recess": 5, "Inked": 5},
}
DOMAINS = ("lithium", "steel", "sem", "sem-additive")
COMPOSITIONS = ("NCM333", "NCM622", "NCM811")
STATES = ("pristine", "formation", "100 cycles")


def _field(size: int, grain: tuple[float, float], generator: np.random.Generator) -> np.ndarray:
    """Smooth noise of deviation 1; ``grain`` is its length in pixels along x and y."""
    noise = generator.normal(size=(size, size))
    smooth = cv2.GaussianBlur(noise, (0, 0), max(grain[0], 0.01), sigmaY=max(grain[1], 0.01))
    return (smooth - smooth.mean()) / (smooth.std() + 1e-9)


def _mask(
    size: int, draw: Callable[[np.ndarray], object], soft: float = 1.0
) -> np.ndarray:
    """What ``draw`` paints in white, in 0..1, with soft edges."""
    canvas = np.zeros((size, size), np.uint8)
    draw(canvas)
    return cv2.GaussianBlur(canvas / 255.0, (0, 0), soft)


def _disc(size: int, centre: tuple[int, int], radius: int, soft: float) -> np.ndarray:
    return _mask(size, lambda canvas: cv2.circle(canvas, centre, radius, 255, -1), soft)


def _stroke(size: int, start: tuple[int, int], end: tuple[int, int]) -> np.ndarray:
    return _mask(size, lambda canvas: cv2.line(canvas, start, end, 255, 2), 0.6)


# ------------------------------------------------------------------------------ lithium cells


def _cell(size: int, generator: np.random.Generator) -> np.ndarray:
    """A brushed metal face, darker towards its rounded ends, with a weld seam across."""
    x = np.linspace(-1, 1, size)
    face = 150 + generator.uniform(-15, 15) - 45 * np.abs(x) ** 3
    image = np.tile(face, (size, 1)) + 7 * _field(size, (size / 6, 0.6), generator)
    seam = size / 2 + generator.uniform(-0.06, 0.06) * size
    y = np.arange(size)[:, None]
    ripple = np.sin(np.arange(size) / size * 60 + generator.uniform(0, 6))
    band = np.exp(-(((y - seam) / (0.045 * size)) ** 2))
    return image + band * (18 + 12 * ripple) + 3 * generator.normal(size=(size, size))


def _over_melting(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    size = len(image)
    for _ in range(int(generator.integers(1, 3))):
        centre = (int(generator.uniform(0.25, 0.75) * size), int(generator.uniform(0.42, 0.58)
                                                                 * size))
        radius = int(generator.uniform(0.07, 0.13) * size)
        outer = _disc(size, centre, radius, 2)
        inner = _disc(size, (centre[0] - radius // 3, centre[1] - radius // 3), radius // 2, 3)
        image = image * (1 - outer) + outer * (95 + 12 * _field(size, (2, 2), generator))
        image = image + 120 * inner
    return image


def _damaged(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    size = len(image)
    place = generator.uniform(0.2, 0.8, 2) * size
    heading = generator.uniform(0, 2 * np.pi)
    points = [place.copy()]
    for _ in range(int(generator.integers(5, 10))):
        heading += generator.normal(0, 0.6)
        place = place + 0.07 * size * np.array([np.cos(heading), np.sin(heading)])
        points.append(place.copy())
    line = np.array(points).round().astype(np.int32)
    width = int(generator.integers(2, 4))
    crack = _mask(size, lambda c: cv2.polylines(c, [line], False, 255, width), 0.7)
    edge = _mask(size, lambda c: cv2.polylines(c, [line + 2], False, 255, 1), 0.7)
    return image - 95 * crack + 60 * edge


def _end_recess(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    size = len(image)
    left = generator.random() < 0.5
    centre = (int((0.1 if left else 0.9) * size), int(generator.uniform(0.3, 0.7) * size))
    axes = (int(generator.uniform(0.05, 0.08) * size), int(generator.uniform(0.2, 0.3) * size))
    dent = _mask(size, lambda c: cv2.ellipse(c, centre, axes, 0, 0, 360, 255, -1), 0.03 * size)
    shine = np.roll(dent, int((0.06 if left else -0.06) * size), axis=1)
    return image - 50 * dent + 25 * np.clip(shine - dent, 0, 1)


def _inked(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    size = len(image)
    side = generator.random() < 0.5
    edge = generator.uniform(0.12, 0.22) * size + 0.03 * size * _field(size, (4, 4), generator)[0]
    y = np.arange(size)[:, None]
    stain = (y < edge) if side else (y > size - edge)
    run = generator.uniform(0, 0.4) * size
    stain = stain & (np.arange(size)[None] > run)
    soft = cv2.GaussianBlur(stain.astype(float), (0, 0), 1)
    return image * (1 - soft) + soft * (35 + 3 * generator.normal(size=image.shape))


LITHIUM: Mapping[str, Drawing] = {
    "No Defect": lambda image, generator: image,
    "Over Melting": _over_melting,
    "Damaged": _damaged,
    "End Recess": _end_recess,
    "Inked": _inked,
}


# ------------------------------------------------------------------------------ hot-rolled steel


def _strip(size: int, generator: np.random.Generator) -> np.ndarray:
    """A grey strip with the rolls' grain along it and light from one side."""
    light = np.linspace(-1, 1, size) * generator.uniform(-15, 15)
    return (
        130 + generator.uniform(-25, 25) + light[None]
        + 6 * _field(size, (0.8, size / 12), generator) + 4 * generator.normal(size=(size, size))
    )


def _crazing(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    size = len(image)
    ridges = np.abs(_field(size, (5, 2.5), generator))
    return image - 55 * np.exp(-((ridges / 0.12) ** 2))


def _inclusion(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    size = len(image)

    def strokes(canvas: np.ndarray) -> None:
        for _ in range(int(generator.integers(2, 6))):
            centre = tuple(generator.integers(size // 8, 7 * size // 8, 2).tolist())
            axes = (int(generator.integers(2, 5)), int(generator.uniform(0.06, 0.2) * size))
            cv2.ellipse(canvas, centre, axes, generator.uniform(-12, 12), 0, 360, 255, -1)

    return image - 80 * _mask(size, strokes)


def _patches(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    size = len(image)
    spread = _field(size, (size / 14, size / 10), generator)
    return image - 60 / (1 + np.exp(-8 * (spread - 0.8)))


def _pitted_surface(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    size = len(image)
    where = generator.uniform(0.3, 0.7) * size

    def pits(canvas: np.ndarray) -> None:
        for _ in range(int(generator.integers(60, 120))):
            x = int(generator.normal(where, 0.15 * size))
            cv2.circle(canvas, (x, int(generator.integers(size))), int(generator.integers(1, 3)),
                       255, -1)

    return image - 65 * _mask(size, pits, 0.6)


def _rolled_in_scale(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    flecks = _field(len(image), (3, 1.2), generator)
    return image - 45 * (flecks > 0.9) + 25 * (flecks < -1.3)


def _scratches(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    size = len(image)

    def lines(canvas: np.ndarray) -> None:
        for _ in range(int(generator.integers(1, 5))):
            x = int(generator.uniform(0.1, 0.9) * size)
            lean = int(generator.normal(0, 0.06) * size)
            top, bottom = sorted(generator.integers(0, size, 2).tolist())
            cv2.line(canvas, (x, top), (x + lean, max(bottom, top + size // 3)), 255, 1)

    return image + 85 * _mask(size, lines, 0.7)


STEEL: Mapping[str, Drawing] = {
    "crazing": _crazing,
    "inclusion": _inclusion,
    "patches": _patches,
    "pitted_surface": _pitted_surface,
    "rolled-in_scale": _rolled_in_scale,
    "scratches": _scratches,
}


# ------------------------------------------------------------------------------ SEM cathodes


def _cathode(
    composition: str, state: str, size: int, generator: np.random.Generator, additive: bool
) -> np.ndarray:
    """Round particles of small grains: finer with more nickel, more cracked with more cycles."""
    grain = {"NCM333": 4.0, "NCM622": 2.5, "NCM811": 1.4}[composition]
    image = np.full((size, size), 45.0) + 6 * generator.normal(size=(size, size))
    for _ in range(9):
        centre = generator.integers(0, size, 2)
        radius = int(generator.uniform(0.14, 0.22) * size)
        distance = np.hypot(*(np.mgrid[:size, :size] - centre[:, None, None])) / radius
        body = 175 - 60 * distance**2 + 26 * _field(size, (grain, grain), generator)
        inside = distance < 1
        image = np.where(inside, body, image)
        for _ in range({"pristine": 0, "formation": 1, "100 cycles": 4}[state]):
            angle = generator.uniform(0, 2 * np.pi)
            reach = radius * np.array([np.cos(angle), np.sin(angle)])
            x, y = int(centre[1]), int(centre[0])
            start = (x + round(0.1 * reach[0]), y + round(0.1 * reach[1]))
            end = (x + round(0.9 * reach[0]), y + round(0.9 * reach[1]))
            image = image - 110 * _stroke(size, start, end) * inside
        if additive:
            # A film of electrolyte products: bright rims, and less contrast below it.
            image = image + 45 * np.exp(-(((distance - 0.97) / 0.05) ** 2))
    return 60 + 0.7 * image if additive else image


# ------------------------------------------------------------------------------ drawing and writing


def draw_surface(domain: str, label: str, size: int, generator: np.random.Generator) -> np.ndarray:
    """Draw one image.

    Parameters
    ----------
    domain : {"lithium", "steel", "sem", "sem-additive"}
        Which kind of surface.
    label : str
        A class of ``LITHIUM`` or ``STEEL``, or a composition and a state joined by a space.
    size : int
        Side in pixels.
    generator : numpy.random.Generator
        Chance.

    Returns
    -------
    ndarray of uint8, shape (size, size)
        Grey.

    Raises
    ------
    ValueError
        When domain or class is unknown.

    Examples
    --------
    >>> image = draw_surface("steel", "scratches", 64, np.random.default_rng(0))
    >>> image.shape, image.dtype
    ((64, 64), dtype('uint8'))
    """
    if label not in surface_classes(domain):
        raise ValueError(
            f"expected a class out of {', '.join(surface_classes(domain))}, got {label!r}"
        )
    if domain == "lithium":
        image = LITHIUM[label](_cell(size, generator), generator)
    elif domain == "steel":
        image = STEEL[label](_strip(size, generator), generator)
    else:
        composition, state = label.split(" ", 1)
        image = _cathode(composition, state, size, generator, domain == "sem-additive")
    return np.clip(image, 0, 255).round().astype(np.uint8)


def surface_classes(domain: str) -> tuple[str, ...]:
    """Give the classes of a domain.

    Parameters
    ----------
    domain : {"lithium", "steel", "sem", "sem-additive"}
        Which kind of surface.

    Returns
    -------
    tuple of str
        Class names.

    Raises
    ------
    ValueError
        When the domain is unknown.
    """
    if domain == "lithium":
        return tuple(LITHIUM)
    if domain == "steel":
        return tuple(STEEL)
    if domain in {"sem", "sem-additive"}:
        return tuple(f"{composition} {state}" for composition in COMPOSITIONS for state in STATES)
    raise ValueError(f"expected lithium, steel, sem or sem-additive, got {domain!r}")


def write_surfaces(
    folder: Path, domain: str, counts: Mapping[str, Mapping[str, int]], size: int, seed: int = 0
) -> Path:
    """Draw a data set with a folder per class.

    Parameters
    ----------
    folder : Path
        Where; gets ``<split>/<class>/<number>.png``. A class of composition and state gets a
        folder inside a folder.
    domain : {"lithium", "steel", "sem", "sem-additive"}
        Which kind of surface.
    counts : mapping of split to mapping of class to int
        How many images.
    size : int
        Side in pixels.
    seed : int
        Of all drawing; an image depends on it, on the domain, and on its split, class and number.

    Returns
    -------
    Path
        ``folder``.
    """
    classes = surface_classes(domain)
    for split, wanted in counts.items():
        for label, count in wanted.items():
            place = Path(folder, split, *(
                label.split(" ", 1) if domain.startswith("sem") else [label]
            ))
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                key = (seed, DOMAINS.index(domain), split == "train", classes.index(label), number)
                image = draw_surface(domain, label, size, np.random.default_rng(key))
                write_image(place / f"{number:03d}.png", image)
    return Path(folder)
