"""The placement of one image over another, and the positions of boxes and of the overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Placement:
    """The placement of a second image over a first.

    Parameters
    ----------
    turn : int
        How it is mirrored and turned before: 4 swaps its axes, then 2 mirrors it upside down, then
        1 mirrors it left to right.
    scale, shift : pair of float
        A point of the turned image lies at ``scale * (x, y) + shift`` of the first, all as shares
        of width and height.
    """

    turn: int = 0
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)

    def placed(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map boxes of the second image, (n, 4), to the first.

        Examples
        --------
        >>> Placement(turn=1).placed(np.array([[0.25, 0.5, 0.1, 0.2]])).tolist()
        [[0.75, 0.5, 0.1, 0.2]]
        """
        x, y, width, height = np.asarray(boxes, dtype=float).reshape(-1, 4).T
        if self.turn & 4:
            x, y, width, height = y, x, height, width
        y = 1 - y if self.turn & 2 else y
        x = 1 - x if self.turn & 1 else x
        (across, down), (right, below) = self.scale, self.shift
        return np.column_stack([
            x * across + right, y * down + below, width * across, height * down
        ])

    @property
    def ground(self) -> NDArray[np.float64]:
        """Left, top, right and bottom of the overlap, as shares of the first image."""
        whole = corners(self.placed(np.array([[0.5, 0.5, 1.0, 1.0]])))[0]
        return np.concatenate([np.maximum(whole[:2], 0), np.minimum(whole[2:], 1)])


def corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert centre and size, (n, 4), to left, top, right and bottom."""
    boxes = np.asarray(boxes, dtype=float).reshape(-1, 4)
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
