from __future__ import annotations

import os
import re

import pytest

from aoi_tl.errors import ExperimentError
from aoi_tl.transfer.arguments import (
    OPTIMIZERS,
    check_device,
    check_train_arguments,
    ignored_arguments,
)
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


@pytest.mark.parametrize(
    ("word", "meant"),
    [("learning_rate", "lr0"), ("lr", "lr0"), ("LR", "lr0"), ("batch_size", "batch"),
     ("epoch", "epochs"), ("img_size", "imgsz"), ("image_size", "imgsz"),
     ("num_workers", "workers"),
     ("worker", "workers"), ("optim", "optimizer"), ("decay", "weight_decay"), ("hflip", "fliplr"),
     ("mosaik", "mosaic")],
)
def test_other_tools_words_are_answered_with_ultralytics_own(word: str, meant: str) -> None:
    with pytest.raises(ExperimentError, match=f"got '{word}'; did you mean '{meant}'"):
        check_train_arguments({word: 1})


def test_a_word_of_no_kind_is_answered_with_no_guess() -> None:
    with pytest.raises(ExperimentError, match="got 'xqzzy'; its documentation lists them"):
        check_train_arguments({"xqzzy": 1})


def test_every_meant_word_is_known_to_someone() -> None:
    from ultralytics.utils import DEFAULT_CFG_DICT

    from aoi_tl.experiment.classification import Train
    from aoi_tl.experiment.detection import Experiment
    from aoi_tl.experiment.settings import _ONE_THING

    known = {*DEFAULT_CFG_DICT, *Train.model_fields, *Experiment.model_fields}
    assert all(known & set(names) for names in _ONE_THING)


@pytest.mark.parametrize(
    ("given", "ignored"),
    [
        ({"lr0": 0.1}, ["lr0"]),
        ({"optimizer": "Auto", "momentum": 0.9, "lr0": 0.1}, ["lr0", "momentum"]),
        ({"optimizer": "SGD", "momentum": 0.9}, []),
        ({"lrf": 0.1}, []),
    ],
)
def test_what_the_automatic_optimizer_ignores(given: dict[str, object], ignored: list[str]) -> None:
    assert ignored_arguments(given) == ignored
