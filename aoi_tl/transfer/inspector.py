"""Running a detector on single images, with one interface for all file formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aoi_tl.checkpoints.ultralytics_setup import prepare_ultralytics, quiet_ultralytics
from aoi_tl.data.dataset import Sample
from aoi_tl.data.images import read_image, to_8_bits
from aoi_tl.errors import CheckpointError, RunError
from aoi_tl.evaluation.operating import FLOOR
from aoi_tl.evaluation.predictions import Predictions, match_boxes
from aoi_tl.transfer.detector import load_checkpoint
from aoi_tl.transfer.openvino import compile_float32, openvino_without_telemetry
from aoi_tl.transfer.thresholds import OPENVINO

_IOU = 0.7  # of two boxes of one class, above which the less confident goes, as in validation
_MOST = 300  # boxes of an image


@dataclass(frozen=True, eq=False)
class Detections:
    """The n boxes of one image.

    Attributes
    ----------
    class_id : int64 array of shape (n,)
        Positions in the detector's class names.
    confidence : float64 array of shape (n,)
        0.001..1, from high to low.
    box : float64 array of shape (n, 4)
        Left, top, right and bottom, each as a share of the image.
    """

    class_id: NDArray[np.int64]
    confidence: NDArray[np.float64]
    box: NDArray[np.float64]


class Inspector:
    """Runs a detector over one image at a time.

    Each image is fitted into a square, so that a checkpoint and the files exported from it, whose
    input has one shape, see the same pixels.

    Parameters
    ----------
    model : Path
        A ``.pt`` or ``.onnx`` file, or an OpenVINO folder.
    size : int
        The square's side in pixels.
    device : str
        As in an experiment; exported files run on the CPU.

    Attributes
    ----------
    names : tuple of str
        The detector's classes.

    Raises
    ------
    CheckpointError
        If the file is damaged or no detector.
    RunError
        If the package that runs the file is not installed.
    """

    def __init__(self, model: Path, size: int, device: str = "cpu") -> None:
        prepare_ultralytics()
        import torch
        from ultralytics.data.augment import LetterBox
        from ultralytics.nn.autobackend import AutoBackend
        from ultralytics.utils.torch_utils import select_device

        model = Path(model)
        self.size = size
        self._device = torch.device("cpu")
        if device != "cpu" and model.suffix == ".pt":
            self._device = select_device(device.split(",")[0], verbose=False)
        given: Any = load_checkpoint(model) if model.suffix == ".pt" else str(model)
        with quiet_ultralytics(), openvino_without_telemetry():
            try:
                self._backend = AutoBackend(given, self._device, verbose=False)
                if model.is_dir():
                    self._backend.backend.ov_compiled_model = compile_float32(model)
            except ImportError as error:
                package = "openvino" if model.name.endswith(OPENVINO) else "onnxruntime"
                raise RunError(
                    f"expected the package {package} to run {model}, got none ({error}); install "
                    "it: pip install 'aoi-tl[deploy]'"
                ) from error
            except Exception as error:  # a damaged file can raise anything
                raise CheckpointError(
                    f"expected an exported detector, got {model}, which cannot be loaded "
                    f"({type(error).__name__}: {' '.join(str(error).split())[:200]}); export it "
                    "again"
                ) from error
        names = self._backend.names
        self.names = tuple(str(names[i]) for i in sorted(names))
        self._fit = LetterBox((size, size), auto=False)

    def find_boxes(self, pixels: NDArray[Any]) -> Detections:
        """Find the boxes of one image.

        Parameters
        ----------
        pixels : uint8 or uint16 array of shape (height, width) or (height, width, 3)
            As `aoi_tl.data.images.read_image` gives them.

        Returns
        -------
        Detections
        """
        import torch
        from ultralytics.utils import ops
        from ultralytics.utils.nms import non_max_suppression

        square: Any = self._fit(image=_as_rgb(pixels))
        tensor = torch.from_numpy(np.ascontiguousarray(square.transpose(2, 0, 1))).to(self._device)
        with torch.inference_mode(), quiet_ultralytics():
            output = self._backend(tensor[None].float() / 255)
            [kept] = non_max_suppression(
                output, FLOOR, _IOU, multi_label=True, max_det=_MOST, nc=len(self.names),
                end2end=bool(self._backend.end2end), max_time_img=10.0,
            )
        height, width = pixels.shape[:2]
        corners: Any = ops.scale_boxes((self.size, self.size), kept[:, :4].clone(), (height, width))
        rows = kept.double().cpu().numpy()
        shares = corners.double().cpu().numpy() / np.array([width, height, width, height])
        return Detections(rows[:, 5].astype(np.int64), rows[:, 4], shares)


def predict_samples(
    inspector: Inspector, samples: Sequence[Sample],
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Run a detector over labelled images of its own classes.

    Parameters
    ----------
    inspector : Inspector
    samples : sequence of Sample
        Their class ids are positions in the inspector's `names`.
    progress : callable, optional
        Called with how many images are done, and of how many.

    Returns
    -------
    Predictions
        In the order of the samples.

    Raises
    ------
    DataError
        If an image cannot be read.
    """
    found, correct = [], []
    for number, sample in enumerate(samples):
        one = inspector.find_boxes(read_image(sample.image, sample.depth))
        found.append(one)
        correct.append(match_boxes(
            sample.classes, corners_of(sample.boxes), one.class_id, one.box
        ))
        if progress is not None:
            progress(number + 1, len(samples))

    def joined(parts: Sequence[NDArray[Any]], *shape: int) -> NDArray[Any]:
        return np.concatenate([np.zeros((0, *shape)), *parts])

    place = np.arange(len(samples))
    return Predictions(
        names=inspector.names,
        images=tuple(sample.image.name for sample in samples),
        truth_image=np.repeat(place, [len(s.classes) for s in samples]).astype(np.int64),
        truth_class=joined([s.classes for s in samples]).astype(np.int64),
        truth_box=joined([corners_of(s.boxes) for s in samples], 4),
        image=np.repeat(place, [len(one.class_id) for one in found]).astype(np.int64),
        class_id=joined([one.class_id for one in found]).astype(np.int64),
        confidence=joined([one.confidence for one in found]),
        box=joined([one.box for one in found], 4),
        correct=joined(correct, 10).astype(bool),
    )


def corners_of(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn centre, width and height into left, top, right and bottom: arrays of shape (n, 4)."""
    half = boxes[:, 2:] / 2
    return np.hstack([boxes[:, :2] - half, boxes[:, :2] + half])


def _as_rgb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    pixels = to_8_bits(pixels)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])
