"""A second camera: pictures as another lens, sensor and exposure would have taken them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Camera:
    """A fixed chain of distortions, in the order of the light's way.

    Attributes
    ----------
    blur : float
        Standard deviation of the lens' Gaussian blur, in pixels.
    vignetting : float
        The share of light that is missing in the corners; it falls with the fourth power of the
        distance from the centre.
    contrast : float
        Factor about the mean grey of 128.
    gamma : float
        Exponent of the tone curve.
    noise : float
        Standard deviation of the sensor's noise, in grey values.
    """

    blur: float
    vignetting: float
    contrast: float
    gamma: float
    noise: float


def photograph(image: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Take a picture again with another camera.

    Parameters
    ----------
    image : uint8 array of shape (h, w, 3)
        BGR.
    camera : Camera
    rng : numpy.random.Generator
        Of the noise.

    Returns
    -------
    uint8 array of shape (h, w, 3)
    """
    light = cv2.GaussianBlur(image.astype(np.float32), (0, 0), camera.blur)
    height, width = image.shape[:2]
    y, x = np.mgrid[-1:1:height * 1j, -1:1:width * 1j]
    fall = 1 - camera.vignetting * ((x**2 + y**2) / 2) ** 2
    light = (light * fall[..., None] - 128) * camera.contrast + 128
    light = 255 * (np.clip(light, 0, 255) / 255) ** camera.gamma
    noise = rng.normal(0, camera.noise, (height, width, 1))
    return np.clip(np.rint(light + noise), 0, 255).astype(np.uint8)
