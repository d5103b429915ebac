from __future__ import annotations

from pathlib import Path

import pytest

from aoi_tl.data.dataset_names import dataset_name, distinct_names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["lineA/dataset/data.yaml", "lineB/dataset/data.yaml"],
         ["lineA/dataset", "lineB/dataset"]),
        (["a/x/set/data.yaml", "b/x/set/data.yaml", "b/other.yaml"],
         ["a/x/set", "b/x/set", "other"]),
        (["a/x/set/data.yaml", "b/x/set/data.yaml", "b/y/set/data.yaml"],
         ["a/x/set", "b/x/set", "y/set"]),
        (["a/mt.yaml", "b/mt.yaml"], ["a/mt", "b/mt"]),
        (["one/data.yaml", "two/data.yaml"], ["one", "two"]),
        ([], []),
    ],
)
def test_equal_names_get_as_much_of_the_path_as_tells_them_apart(
    paths: list[str], names: list[str]
) -> None:
    assert distinct_names([Path(path) for path in paths]) == names


def test_given_names_stay_and_one_file_twice_has_one_name() -> None:
    paths = [Path("/a/set/data.yaml"), Path("/b/set/data.yaml"), Path("/c/x.yaml")]
    assert distinct_names(paths, [None, "set", "set"]) == ["a/set", "set", "set"]
    assert distinct_names(paths[:1] * 2) == ["/a/set".lstrip("/")] * 2
    assert dataset_name(Path("/data.yaml")) == ""
