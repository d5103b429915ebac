"""Checking what a checkpoint contains in milliseconds, without importing torch or running code."""

from __future__ import annotations

import pickletools
import re
import zipfile
from pathlib import Path

from aoi_tl.checkpoints.opening import damage_reason, refuse_packed, runs_code_reason
from aoi_tl.errors import CheckpointError
from aoi_tl.files.untrusted import open_zip

#: A larger description is left to the restricted loader; those of real detectors take under 1 MB.
_MOST = 64 << 20

#: Packages whose classes a restricted load may know. It decides about each class itself.
_KNOWN = {
    "__builtin__", "builtins", "_codecs", "clip", "collections", "numpy", "pathlib", "torch",
    "torchvision", "ultralytics",
}

#: Ultralytics' classes of models that are no detectors, and their tasks.
_OTHER_TASKS = {
    "ClassificationModel": "classify", "OBBModel": "obb", "PoseModel": "pose",
    "SegmentationModel": "segment",
}

#: Names of the checkpoints of the original YOLOv3 and YOLOv5, which hold code of their own.
_ORIGINALS = re.compile(r"yolov5[nsmlx]6?|yolov3(-tiny|-spp)?")


def screen_detector(path: Path) -> None:
    """Refuse a file that cannot be an Ultralytics detector, by the names in its pickle.

    A file that passes may still be refused by `open_restricted`, which takes seconds to import.

    Parameters
    ----------
    path : Path
        A ``.pt`` file.

    Raises
    ------
    CheckpointError
        If the file is missing, no checkpoint, or one of another kind; or if it would run code.
    """
    if path.suffix == ".pt" and _ORIGINALS.fullmatch(path.stem):
        raise CheckpointError(
            f"expected an Ultralytics checkpoint, got {path}, named like an original YOLOv5; "
            f"use {path.stem}u.pt"
        )
    if not path.is_file():
        raise CheckpointError(f"expected a checkpoint, got no file {path}; check the path")
    refuse_packed(path)
    names = pickled_names(path)
    if names is None:
        return
    foreign = next((name for name in names if name.split(".")[0] not in _KNOWN), None)
    if foreign is not None:
        raise CheckpointError(
            f"expected an Ultralytics checkpoint, got {path}, which {runs_code_reason(foreign)}"
        )
    if not any(name.startswith("ultralytics.") for name in names):
        raise CheckpointError(
            f"expected a detector, got {path}, which holds no model of Ultralytics; use a "
            "detection checkpoint such as yolo11n.pt"
        )
    models = {name.rpartition(".")[2] for name in names if name.startswith("ultralytics.nn.tasks.")}
    other = sorted(models & set(_OTHER_TASKS))
    if other and models <= set(_OTHER_TASKS):
        raise CheckpointError(
            f"expected a detector, got {path}, a {other[0]} for the task "
            f"{_OTHER_TASKS[other[0]]!r}; use a detection checkpoint such as yolo11n.pt"
        )


def pickled_names(path: Path) -> list[str] | None:
    """List the classes and functions that a checkpoint's pickle names.

    Parameters
    ----------
    path : Path
        A ``.pt`` file.

    Returns
    -------
    list of str or None
        ``module.name`` each, in the file's order; None for a file that only the loader can judge:
        one of before torch 1.6, or one whose description is too large or damaged.

    Raises
    ------
    CheckpointError
        If the file is neither of torch's two formats.
    """
    with path.open("rb") as file:
        head = file.read(4)
    if head != b"PK\3\4":
        if head[:1] == b"\x80":  # a bare pickle: torch's format until 1.6
            return None
        raise _damaged(path, "neither a .zip nor a pickle")
    try:
        with open_zip(path) as archive:
            described = [
                member for member in archive.infolist()
                if member.filename.count("/") == 1 and member.filename.endswith("/data.pkl")
            ]
            if len(described) != 1:
                raise _damaged(path, "a .zip without data.pkl")
            if described[0].file_size > _MOST:
                return None
            content = archive.read(described[0])
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return None
    try:
        return [
            str(argument).replace(" ", ".", 1)
            for code, argument, _ in pickletools.genops(content)
            if code.name in ("GLOBAL", "INST")
        ]
    except Exception:  # a damaged pickle can raise anything
        return None


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"expected an Ultralytics checkpoint, got {path}, which {damage_reason(why)}"
    )
