from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from aoi_tl.checkpoints.finding import find_checkpoint, read_registry
from aoi_tl.checkpoints.ultralytics_setup import prepare_ultralytics
from aoi_tl.errors import CheckpointError
from tests.one_line import one_line


def test_checkpoints_are_found_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    (second / "a.pt").write_bytes(b"2")
    assert find_checkpoint("a.pt", [first, second]) == second / "a.pt"
    (first / "a.pt").write_bytes(b"1")
    assert find_checkpoint("a.pt", [first, second]) == first / "a.pt"
    assert find_checkpoint("second/a.pt", [first]) == second / "a.pt"
    with pytest.raises(CheckpointError, match="no such file in third"):
        find_checkpoint("third/a.pt", [first])
    digest = hashlib.sha256(b"1").hexdigest()
    assert find_checkpoint("a.pt", [first], {"a.pt": digest}) == first / "a.pt"
    with pytest.raises(CheckpointError, match=f"with SHA-256 {digest}, got "):
        find_checkpoint("a.pt", [second], {"a.pt": digest})
    with pytest.raises(CheckpointError, match=r"did you mean yolov8n\.pt"):
        find_checkpoint("yolov8nn.pt", [first])


def test_offline_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_ultralytics()
    from ultralytics.utils import downloads

    def refuse(*args: object, **kwargs: object) -> str:
        raise ConnectionError("offline\nin two lines")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(downloads, "attempt_download_asset", refuse)
    with pytest.raises(CheckpointError) as error:
        find_checkpoint("yolo11n.pt", [tmp_path / "weights"])
    assert re.search(r"could not be downloaded \(ConnectionError\); put yolo11n\.pt there",
                     one_line(error))


def test_the_registry_holds_the_real_files(shared: Path) -> None:
    registry = read_registry(Path(__file__).parents[2] / "weights" / "registry.yaml")
    assert find_checkpoint("yolov8n.pt", [shared / "weights"], registry).name == "yolov8n.pt"
    # The yolo11n.pt there is not Ultralytics' own file: its checksum must refuse nobody's download.
    assert "yolo11n.pt" not in registry
