from __future__ import annotations

import os
import re

import pytest

from aoi_tl.errors import ExperimentError
from aoi_tl.transfer.arguments import OPTIMIZERS, check_device, check_train_arguments
from aoi_tl.transfer.detector import new_model
from tests.one_line import one_line


def test_train_arguments_are_checked() -> None:
    given = {"epochs": 3, "imgsz": 320, "mosaic": 0.0, "device": "0,1", "amp": False}
    assert check_train_arguments(given) == given
    for wrong, message in [
        ({"learning_rate": 1}, "got 'learning_rate'; did you mean"),
        ({"epoch": 1}, "did you mean 'epochs'"),
        ({"data": "x.yaml"}, "under `target`"),
        ({"seed": 3}, "under `seeds`"),
        ({"split": "test"}, "only the evaluation opens the test split"),
        ({"pretrained": False}, "transfer.modules"),
        ({"epochs": "many"}, "'epochs=many'"),
        ({"mosaic": 3.0}, "'mosaic=3.0'"),
    ]:
        with pytest.raises(ExperimentError) as error:
            check_train_arguments(wrong)
        assert message in one_line(error)


def test_the_optimisers_are_those_of_ultralytics() -> None:
    from ultralytics.engine.trainer import BaseTrainer

    with pytest.raises(NotImplementedError) as caught:
        BaseTrainer.build_optimizer(None, new_model("yolov8n.yaml", ("x",), 0), name="nothing")
    listed = re.search(r"\{(.*)\}", str(caught.value))
    assert listed is not None
    assert set(OPTIMIZERS) == set(re.findall(r"'(\w+)'", listed.group(1)))


def test_a_device_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(ExperimentError) as caught:
        check_device("77")
    assert "expected a device of this machine, got '77'" in one_line(caught)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
