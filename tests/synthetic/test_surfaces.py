from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aoi_tl.classification.folders import read_image_folders
from aoi_tl.data.images import read_image
from aoi_tl.synthetic.surfaces import (
    DOMAINS,
    LITHIUM_COUNTS,
    draw_surface,
    surface_classes,
    write_surfaces,
)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_class_is_drawn_with_contrast_and_never_twice_the_same(domain: str) -> None:
    for label in surface_classes(domain):
        one, same, other = (
            draw_surface(domain, label, 64, np.random.default_rng(seed)) for seed in (0, 0, 1)
        )
        assert one.shape == (64, 64)
        assert one.dtype == np.uint8
        assert one.std() > 5
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)


@pytest.mark.parametrize("domain", ["lithium", "steel"])
def test_classes_differ_on_the_same_background(domain: str) -> None:
    drawn = [draw_surface(domain, label, 64, np.random.default_rng(0)).astype(float)
             for label in surface_classes(domain)]
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert np.abs(one - other).max() > 20


def test_counts_are_those_of_the_paper() -> None:
    assert sum(LITHIUM_COUNTS["train"].values()) == 20
    assert sum(LITHIUM_COUNTS["test"].values()) == 82


def test_written_sets_are_read_back(tmp_path: Path) -> None:
    counts = {"train": {"NCM333 pristine": 2, "NCM811 100 cycles": 3},
              "test": {"NCM811 100 cycles": 1}}
    found = read_image_folders(write_surfaces(tmp_path / "sem", "sem", counts, 32))
    assert found.classes == ("NCM333 pristine", "NCM811 100 cycles")
    assert found.split("train").counts == counts["train"]
    assert found.split("test").counts == {"NCM333 pristine": 0, "NCM811 100 cycles": 1}


def test_no_image_is_drawn_twice_over_splits_and_domains(tmp_path: Path) -> None:
    label = "NCM622 formation"
    for domain in ("sem", "sem-additive"):
        write_surfaces(tmp_path / domain, domain, {"train": {label: 4}, "test": {label: 4}}, 32)
    images = [read_image(file) for file in sorted(tmp_path.rglob("*.png"))]
    assert len(images) == 16
    for i, one in enumerate(images):
        for other in images[:i]:
            assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.9


def test_unknown_domain_and_class() -> None:
    with pytest.raises(ValueError, match="lithium, steel"):
        surface_classes("copper")
    with pytest.raises(ValueError, match="No Defect"):
        draw_surface("lithium", "Rust", 32, np.random.default_rng(0))
