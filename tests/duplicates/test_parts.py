"""One design on many parts is no copy; a part shot again is one, in another file, light or crop."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from aoi_tl.duplicates import parts
from aoi_tl.duplicates.agreement import Agreement
from aoi_tl.duplicates.pairs import find_duplicates
from aoi_tl.duplicates.parts import Defects, decide_parts, labels_show_one_part, look_alike
from aoi_tl.duplicates.placement import Placement
from tests.drawn_boards import again, copy

NONE = Defects(np.zeros(0, np.int64), np.zeros((0, 4)))


@pytest.mark.parametrize("how", ["re-encoded", "relit", "shifted", "cropped"])
@pytest.mark.parametrize("labelled", [True, False])
def test_copies_of_a_design_are_no_copies_of_a_part(
    tmp_path: Path, how: str, labelled: bool
) -> None:
    images, defects = [], []
    for number in range(8):
        pixels, marked = copy(number)
        images.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(images[-1]), pixels.astype(np.uint8))
        defects.append(marked)
    pixels, marked, quality = again(how, *copy(3))
    images.append(tmp_path / "again.jpg")
    cv2.imwrite(str(images[-1]), pixels.clip(0, 255).astype(np.uint8),
                [cv2.IMWRITE_JPEG_QUALITY, quality])
    defects.append(marked)
    if not labelled:
        defects[3] = defects[8] = NONE
    found = find_duplicates(images, defects=defects)
    assert [(pair.first, pair.second) for pair in found.overlaps] == [(3, 8)]
    assert len(found.designs) >= 20
    assert found.design.tolist() == [found.design[0]] * 9
    assert found.design[0] >= 0


def test_without_labels_whatever_agrees_is_one_part(tmp_path: Path) -> None:
    images = [tmp_path / f"{number}.png" for number in range(3)]
    for number, image in enumerate(images):
        cv2.imwrite(str(image), copy(number)[0].astype(np.uint8))
    for defects in (None, [NONE] * 3):
        found = find_duplicates(images, defects=defects)
        assert len(found.overlaps) == 3
        assert found.designs == ()
        assert found.design.tolist() == [-1] * 3


def test_good_parts_follow_the_faulty_ones_of_their_folder(tmp_path: Path) -> None:
    images, defects = [], []
    for number, design in enumerate([0, 0, 0, 0, 7, 7]):
        pixels, marked = copy(number, design=design)
        images.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(images[-1]), pixels.astype(np.uint8))
        defects.append(marked if number < 4 else NONE)
    found = find_duplicates(images, defects=defects)
    assert found.overlaps == ()
    assert (4, 5) in {(pair.first, pair.second) for pair in found.designs}


def test_what_labels_say_of_two_images() -> None:
    (one, its), (other, others) = copy(0), copy(1)
    one, other = one.astype(np.float32), other.astype(np.float32)
    here = Placement()
    assert labels_show_one_part(its, others, here, (one, other)) is False
    assert labels_show_one_part(its, NONE, here, (one, other)) is False
    assert labels_show_one_part(its, its, here, (one, one * 0.5 + 60)) is True
    assert labels_show_one_part(NONE, its, here, (one, one)) is True
    assert labels_show_one_part(NONE, NONE, here, (one, other)) is None
    outside = Placement(shift=(0.9, 0.0))
    assert labels_show_one_part(NONE, NONE, outside, (one, other)) is None
    assert look_alike(here, (one, one * 0.5 + 60))
    assert not look_alike(here, (one, other))
    flat = np.full_like(one, 90)
    assert labels_show_one_part(its, NONE, here, (flat, flat)) is None
    assert not look_alike(here, (flat, flat))


def test_a_folder_is_of_repeated_designs_where_more_pairs_differ_than_not(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    # A class number stands for what the labels of a pair show: 1 one part, 0 two, 2 nothing.
    shown = {1: True, 0: False, 2: None}
    monkeypatch.setattr(parts, "labels_show_one_part",
                        lambda first, *_: shown[int(first.classes[0])])
    monkeypatch.setattr(parts, "look_alike", lambda *_: False)

    def decided(*evidence: int) -> list[bool]:
        pairs = [Agreement(2 * k, 2 * k + 1, 0.95, 1.0, Placement()) for k in range(len(evidence))]
        defects = [Defects(np.array([kind]), np.full((1, 4), 0.5)) for kind in evidence
                   for _ in range(2)]
        folders, blank = np.zeros(len(defects), np.int64), np.zeros((8, 8), np.float32)
        return decide_parts(pairs, defects, folders, lambda _: blank).tolist()

    # Exposures of one part that are not all labelled alike stay one part ...
    assert decided(1, 1, 0, 2) == [True, True, True, True]
    assert decided(1, 0) == [True, True]
    assert decided(2, 2) == [True, True]
    # ... and among repeated designs each pair stands for itself.
    assert decided(0, 0, 1, 2) == [False, False, True, False]
