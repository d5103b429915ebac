from __future__ import annotations

import pytest

from aoi_tl.classification.two_stage import ARMS, arm_steps, join_classes, stage_steps


def test_every_arm_takes_the_same_number_of_steps() -> None:
    assert {len(arm_steps(arm, 30, 12)) for arm in ARMS} == {42}


def test_two_stage_is_the_source_and_then_the_target() -> None:
    assert arm_steps("two-stage", 3, 2) == ("source",) * 3 + ("target",) * 2
    assert set(arm_steps("pretraining-only", 3, 2)) == {"source"}
    assert set(arm_steps("fine-tuning-only", 3, 2)) == {"target"}


def test_counting_target_steps_leaves_each_stage_its_own_length() -> None:
    assert [len(arm_steps(arm, 30, 12, count="target")) for arm in ARMS] == [30, 12, 42]


def test_stage_steps_cover_the_epochs() -> None:
    assert stage_steps(32, 16, 5) == 10
    assert stage_steps(33, 16, 1) == 3


def test_target_may_know_fewer_classes_but_no_other() -> None:
    assert join_classes(["a", "b"], ["b"]) == ("a", "b")
    with pytest.raises(ValueError, match="got c"):
        join_classes(["a", "b"], ["c"])


def test_unknown_arm_is_refused() -> None:
    with pytest.raises(ValueError, match="two-stage"):
        arm_steps("three-stage", 1, 1)
