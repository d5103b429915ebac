from __future__ import annotations

from pathlib import Path

import pytest

from aoi_tl.errors import DataError
from aoi_tl.transfer.data_yaml import data_names
from tests.one_line import one_line


def test_names_of_the_data(tmp_path: Path) -> None:
    data = tmp_path / "data.yaml"
    data.write_text("names: {1: b, 0: a, 10: c}\n")
    assert data_names(data) == ("a", "b", "c")
    data.write_text("names: [划痕, 7]\n", encoding="utf-8")
    assert data_names(data) == ("划痕", "7")
    for wrong in ("nc: 3\n", "[]\n", "names: [a\n"):
        data.write_text(wrong)
        with pytest.raises(DataError) as error:
            data_names(data)
        one_line(error)
    with pytest.raises(DataError):
        data_names(tmp_path / "none.yaml")
