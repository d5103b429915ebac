from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aoi_tl.errors import CheckpointError
from aoi_tl.transfer.detector import load_checkpoint, new_model, save_checkpoint
from aoi_tl.transfer.trusted import rebuild_trusted
from tests.fuzz.readers import TINY
from tests.hostile.corpus import Trap
from tests.hostile.files import as_missing


def test_what_a_restricted_load_refuses_is_kept_as_tensors(tmp_path: Path) -> None:
    """A file that runs code beside its model: refused, or run once and never again."""
    mark, odd, clean = (tmp_path / name for name in ("sprung", "odd.pt", "run/weights/clean.pt"))
    model = new_model(TINY, ("dent", "划痕"), seed=3)
    save_checkpoint(model, odd)
    content = torch.load(odd, weights_only=False)
    torch.save({**content, "train_args": Trap(mark)}, odd)

    with pytest.raises(CheckpointError, match=r"would run (builtins|io|_io)\.open .*weights_may"):
        load_checkpoint(odd)
    assert not mark.exists()

    assert rebuild_trusted(odd, clean) == clean
    assert mark.exists()
    rebuilt = load_checkpoint(clean)
    assert rebuilt.names == {0: "dent", 1: "划痕"}
    for name, value in model.state_dict().items():
        assert rebuilt.state_dict()[name].equal(value), name

    mark.unlink()
    assert rebuild_trusted(odd, clean) == clean
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["missing package", "no model", "damaged"])
def test_a_trusted_file_can_still_be_none(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.pt"
    if kind == "missing package":
        as_missing(file)
    elif kind == "no model":
        torch.save({"model": [1]}, file)
    else:
        file.write_bytes(b"PK\3\4" + bytes(50))
    with pytest.raises(CheckpointError, match="expected a"):
        rebuild_trusted(file, tmp_path / "clean.pt")
    assert not (tmp_path / "clean.pt").exists()
