from __future__ import annotations

import cv2
import numpy as np
import pandas as pd

from aoi_tl.evaluation.comparison import summarise
from aoi_tl.report.charts import PALETTE, arm_colours
from aoi_tl.report.figures import draw_arms, draw_curves


def decode(png: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR),
                        cv2.COLOR_BGR2RGB)


def has_colour(image: np.ndarray, code: str) -> bool:
    rgb = np.array([int(code[i:i + 2], 16) for i in (1, 3, 5)])
    return bool((np.abs(image.astype(int) - rgb).max(axis=2) < 12).sum() > 30)


def test_every_arm_has_its_own_colour_and_is_drawn() -> None:
    x = np.linspace(0, 1, 50)
    curves = {arm: [(x, np.full(50, level)), (x, np.full(50, level + 0.05))]
              for arm, level in (("coco", 0.2), ("method", 0.5), ("mine", 0.8))}
    colours = arm_colours(list(curves))
    assert len(set(colours.values())) == 3
    image = decode(draw_curves(curves, "recall", "precision"))
    for colour in colours.values():
        assert has_colour(image, colour)


def test_more_arms_than_colours() -> None:
    names = [f"method@{n}" for n in range(len(PALETTE) + 3)]
    assert set(arm_colours(names)) == set(names)


def test_equal_results_give_equal_files() -> None:
    rows = pd.DataFrame(
        [("coco", 0, 0.1), ("coco", 1, 0.3), ("method", 0, 0.4), ("method", 1, 0.4)],
        columns=["arm", "seed", "map50"],
    )
    summary = summarise(rows, ["map50"], ["coco"])
    once, again = (draw_arms(rows, summary, "map50") for _ in range(2))
    assert once == again
    assert has_colour(decode(once), "#CC79A7")
