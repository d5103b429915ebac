from __future__ import annotations

import pytest
import torch

from aoi_tl.errors import ExperimentError
from aoi_tl.transfer.training import _in_plain_words


def test_a_batch_of_one_small_image_is_told_in_plain_words() -> None:
    norm = torch.nn.BatchNorm2d(3)
    with (
        pytest.raises(ExperimentError, match=r"64 pixels or more.*imgsz 32 and batch 4"),
        _in_plain_words({"imgsz": 32, "batch": 4}),
    ):
        norm(torch.zeros(1, 3, 1, 1))
    with pytest.raises(ValueError, match="another"), _in_plain_words({}):
        raise ValueError("another")
