from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aoi_tl.errors import DataError
from aoi_tl.files.yaml_file import read_yaml


def refused(path):
    with pytest.raises(DataError) as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_nearest_existing_file_is_told(tmp_path):
    (tmp_path / "line-1.yaml").write_text("a: 1")
    assert f"did you mean {tmp_path / 'line-1.yaml'}" in refused(tmp_path / "line_1.yaml")
    assert "check the path" in refused(tmp_path / "something-else")
    assert "there is no folder" in refused(tmp_path / "nowhere" / "data.yaml")


def test_a_folder_is_told_from_its_yaml(tmp_path):
    assert "got a folder; name the YAML file" in refused(tmp_path)
    (tmp_path / "data.yaml").write_text("a: 1")
    assert f"got a folder; name {tmp_path / 'data.yaml'}" in refused(tmp_path)


def test_broken_yaml_is_told_with_its_line(tmp_path):
    (tmp_path / "a.yaml").write_text("train: a\nval: [b\nnames: c: d")
    assert "a.yaml line 3: expected valid YAML" in refused(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("a: \x00")
    assert "expected valid YAML" in refused(tmp_path / "a.yaml")


def test_other_encodings_are_told(tmp_path):
    (tmp_path / "a.yaml").write_bytes("names:\n- 划痕".encode("gbk"))
    assert "line 2: expected UTF-8 text" in refused(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_bytes("names: 划痕".encode("utf-8-sig"))
    assert read_yaml(tmp_path / "a.yaml") == {"names": "划痕"}


def test_nothing_is_executed(tmp_path):
    (tmp_path / "a.yaml").write_text("a: !!python/object/apply:os.getcwd []")
    assert "line 1: expected valid YAML" in refused(tmp_path / "a.yaml")


@given(
    content=st.binary(max_size=100)
    | st.text("ab:-[]{}&*!'\"\n \t|>?%@0.", max_size=60).map(str.encode)
)
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    path.write_bytes(content)
    told = ""
    try:
        read_yaml(path)
    except DataError as error:
        told = str(error)
    assert "\n" not in told
