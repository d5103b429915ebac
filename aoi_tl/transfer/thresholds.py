"""The thresholds of a detector, stored beside its checkpoint and inside exported files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aoi_tl.checkpoints.ultralytics_setup import prepare_ultralytics
from aoi_tl.checkpoints.writing import save_state
from aoi_tl.data.depth import DEPTHS
from aoi_tl.errors import CheckpointError
from aoi_tl.files.run_folder import write_atomically

#: The file beside a checkpoint, and the key inside a checkpoint and an exported file.
FILE, KEY = "thresholds.json", "aoi_tl"
#: How the name of the folder ends that holds an OpenVINO model.
OPENVINO = "_openvino_model"


@dataclass(frozen=True)
class Thresholds:
    """The thresholds and settings with which a detector passes or rejects images.

    Attributes
    ----------
    values : dict of str to float
        By class, in the order of the detector's classes: a box of that confidence or more rejects
        its image.
    image_size : int
        The side in pixels of the square that an image is fitted into.
    checkpoint : str
        The name of the checkpoint that they were chosen with.
    aim : mapping
        What they were chosen for, as ``operate`` has it in the experiment.
    chosen_on : mapping
        The images that they were chosen on, and the rates there.
    depth : int or None
        How many bits the target's images use where their files store 16; None where they store 8
        or use all.
    """

    values: dict[str, float]
    image_size: int
    checkpoint: str = ""
    aim: Mapping[str, Any] = field(default_factory=dict)
    chosen_on: Mapping[str, Any] = field(default_factory=dict)
    depth: int | None = None

    def to_json(self) -> str:
        """Give the content of ``thresholds.json``."""
        depth = {} if self.depth is None else {"depth": self.depth}
        return json.dumps({
            "thresholds": self.values, "image_size": self.image_size, **depth,
            "checkpoint": self.checkpoint, "aim": dict(self.aim), "chosen_on": dict(self.chosen_on),
        }, indent=2, ensure_ascii=False) + "\n"

    def to_line(self) -> str:
        """Give the same as one line of ASCII, for the metadata of a file."""
        return json.dumps(json.loads(self.to_json()))


def parse_thresholds(text: str, place: str) -> Thresholds:
    """Read what `Thresholds.to_json` wrote, edited by hand perhaps.

    Parameters
    ----------
    text : str
        The content.
    place : str
        Where it comes from, for the errors.

    Returns
    -------
    Thresholds

    Raises
    ------
    CheckpointError
        If it is not JSON, lacks a key, or has a number out of its range.

    Examples
    --------
    >>> parse_thresholds('{"thresholds": {"pit": 0.3}, "image_size": 320}', "a.json").values
    {'pit': 0.3}
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise CheckpointError(
            f"expected JSON in {place}, got a fault: {error}; correct it"
        ) from None
    known = found if isinstance(found, dict) else {}
    values, size = known.get("thresholds"), known.get("image_size")
    if not isinstance(values, dict) or not values:
        raise CheckpointError(
            f"expected thresholds in {place}, such as {{\"crack\": 0.3}}, got {_brief(values)}; "
            "write them again with a run whose experiment has 'operate'"
        )
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise CheckpointError(
                f"expected a threshold from 0 to 1 for {name!r} in {place}, got {_brief(value)}; "
                "correct it"
            )
    if isinstance(size, bool) or not isinstance(size, int) or not 32 <= size <= 16384:
        raise CheckpointError(
            f"expected an image_size from 32 to 16384 in {place}, got {_brief(size)}; correct it"
        )
    depth = known.get("depth")
    if depth is not None and (isinstance(depth, bool) or depth not in DEPTHS):
        raise CheckpointError(
            f"expected a depth of {', '.join(map(str, DEPTHS))} bits in {place}, got "
            f"{_brief(depth)}; correct it"
        )
    return Thresholds(
        {str(name): float(value) for name, value in values.items()}, size,
        str(known.get("checkpoint", "")), known.get("aim") or {}, known.get("chosen_on") or {},
        depth,
    )


def read_thresholds(model: Path) -> tuple[Thresholds, str]:
    """Read the thresholds of a model.

    Parameters
    ----------
    model : Path
        A checkpoint, or what `aoi_tl.transfer.exporting.export_detector` wrote.

    Returns
    -------
    tuple of Thresholds and str
        Also where they come from. For a checkpoint, ``thresholds.json`` beside it comes before what
        the checkpoint holds: it can be edited.

    Raises
    ------
    CheckpointError
        If there is no such model, or it has no thresholds.
    """
    model = Path(model)
    if not model.exists():
        raise CheckpointError(f"expected a model at {model}, got nothing there; correct the path")
    beside = model.with_name(FILE)
    if model.suffix == ".pt":
        if beside.is_file():
            found = parse_thresholds(beside.read_text(encoding="utf-8"), str(beside))
            if found.checkpoint in ("", model.name):
                return found, str(beside)
        text = _inside_checkpoint(model)
        cure = "train it in a run whose experiment has 'operate', such as operate: {escape: 0.01}"
    elif model.suffix == ".onnx" or (model.is_dir() and model.name.endswith(OPENVINO)):
        text = _inside_export(model)
        cure = "write it with aoi-tl export-model"
    else:
        raise CheckpointError(
            f"expected a .pt or .onnx file or a folder named *{OPENVINO}, got {model}; give "
            "best.pt of a run, or what aoi-tl export-model wrote"
        )
    if not isinstance(text, str):
        raise CheckpointError(f"expected thresholds in {model}, got none; {cure}")
    return parse_thresholds(text, str(model)), str(model)


def keep_thresholds(checkpoint: Path, thresholds: Thresholds, out: Path) -> None:
    """Write a checkpoint with thresholds inside, and ``thresholds.json`` beside it.

    Parameters
    ----------
    checkpoint : Path
        A detector.
    thresholds : Thresholds
    out : Path
        The new checkpoint; may be the same file. Ultralytics and resuming read it as before.
    """
    save_state({**_load(checkpoint), KEY: thresholds.to_line()}, out)
    write_atomically(out.with_name(FILE), thresholds.to_json())


def _inside_checkpoint(model: Path) -> Any:
    from aoi_tl.transfer.detector import load_checkpoint

    load_checkpoint(model)  # its errors say what is wrong with the file, or of which task it is
    return _load(model).get(KEY)


def _load(checkpoint: Path) -> dict[str, Any]:
    prepare_ultralytics()
    from ultralytics.nn.tasks import torch_safe_load

    state, _ = torch_safe_load(str(checkpoint), safe_only=True)
    return dict(state)


def _inside_export(model: Path) -> Any:
    prepare_ultralytics()
    from ultralytics.nn.backends.base import BaseBackend

    found = BaseBackend.read_metadata(model)
    task = found.get("task", "detect")
    if task != "detect":
        raise CheckpointError(
            f"expected a detector, got {model}, exported for the task {task!r}; use one that "
            "aoi-tl export-model wrote"
        )
    return found.get(KEY)


def _brief(value: object) -> str:
    text = json.dumps(value, default=str)
    return "nothing" if value is None else text if len(text) <= 60 else f"{text[:57]}..."
