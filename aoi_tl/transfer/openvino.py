"""OpenVINO set up without telemetry and in 32-bit precision."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def openvino_without_telemetry() -> Iterator[None]:
    """Keep OpenVINO's converter from reporting its use over the network.

    It reports through a separate package, and works without it if it cannot be imported.
    """
    reporter = "openvino_telemetry"
    before = {name: sys.modules.pop(name) for name in list(sys.modules)
              if name.partition(".")[0] == reporter}
    sys.modules[reporter] = None  # type: ignore[assignment]  # so that importing it fails
    try:
        yield
    finally:
        del sys.modules[reporter]
        sys.modules.update(before)


def compile_float32(folder: Path) -> Any:
    """Compile a model for this machine's CPU in 32-bit numbers.

    By default OpenVINO computes in bfloat16 on processors that support it. Confidences then differ
    by some hundredths, and verdicts with them.

    Parameters
    ----------
    folder : Path
        With the model's ``.xml`` and ``.bin``.

    Returns
    -------
    openvino.CompiledModel
    """
    import openvino

    core = openvino.Core()
    return core.compile_model(core.read_model(next(folder.glob("*.xml"))), "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY",
    })
