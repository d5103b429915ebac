from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from aoi_tl.transfer.weights import (
    MODULES,
    apply_transfer,
    match_classes,
    module_group,
    module_index,
    plan_transfer,
)

# A model of 21 modules: 2 and 20 differ by a trailing digit only, 20 is the head.
SHAPES = {
    "model.0.conv.weight": (4, 3),
    "model.2.bn.bias": (4,),
    "model.2.bn.num_batches_tracked": (),
    "model.15.conv.weight": (5, 4),
    "model.20.cv2.0.2.weight": (8, 4),
    "model.20.cv3.0.0.conv.weight": (6, 4),
    "model.20.cv3.0.2.weight": (3, 6),
    "model.20.cv3.0.2.bias": (3,),
}


def state(start: float, **shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    wanted = SHAPES | {name.replace("__", "."): shape for name, shape in shapes.items()}
    made = {}
    for i, (name, shape) in enumerate(wanted.items()):
        size = int(torch.Size(shape).numel())
        values = start + 100 * i + torch.arange(size, dtype=torch.float32)
        made[name] = values.reshape(shape)
    return made


def test_groups_are_cut_by_number() -> None:
    assert [module_index(name) for name in ("model.2.bn.bias", "model.20.x.y")] == [2, 20]
    assert [module_group(i, 3, 21) for i in (0, 2, 3, 19, 20)] == [
        "backbone", "backbone", "neck", "neck", "head",
    ]
    with pytest.raises(ValueError, match=r"model\.<number>"):
        module_index("teacher.2.bn.bias")


@pytest.mark.parametrize(
    ("modules", "copied"),
    [
        ("none", []),
        ("backbone", ["model.0", "model.2", "model.2"]),
        ("backbone+neck", ["model.0", "model.2", "model.2", "model.15"]),
        ("all", ["model.0", "model.2", "model.2", "model.15"] + ["model.20"] * 4),
    ],
)
def test_each_choice_copies_its_groups(modules: str, copied: list[str]) -> None:
    old, new = state(0.0), state(0.5)
    ledger = plan_transfer(old, new, 3, 21, modules)
    assert [record.tensor for record in ledger.records] == list(new)
    assert [
        f"model.{record.module}" for record in ledger.records if record.origin == "copied"
    ] == copied
    result = apply_transfer(ledger, old, new)
    for record in ledger.records:
        origin = old if record.origin == "copied" else new
        assert torch.equal(result[record.tensor], origin[record.tensor])
    assert sum(ledger.counts.values()) == len(new)
    assert torch.equal(new["model.0.conv.weight"], state(0.5)["model.0.conv.weight"])


def test_rows_of_the_same_classes_are_copied_and_no_others() -> None:
    old = state(0.0)
    new = state(0.5, model__20__cv3__0__2__weight=(2, 6), model__20__cv3__0__2__bias=(2,))
    ledger = plan_transfer(old, new, 3, 21, "all", ("pit", "crack", "chip"), ("hole", " Crack"))
    result = apply_transfer(ledger, old, new)
    for name in ("model.20.cv3.0.2.weight", "model.20.cv3.0.2.bias"):
        assert torch.equal(result[name][0], new[name][0])
        assert torch.equal(result[name][1], old[name][1])
    record = ledger.records[-1]
    assert (record.origin, record.rows) == ("rows copied", ((1, 1),))
    assert "Crack" in record.reason


def test_the_same_classes_in_another_order_change_places() -> None:
    old, new = state(0.0), state(0.5)
    ledger = plan_transfer(old, new, 3, 21, "all", ("a", "b", "c"), ("c", "a", "b"))
    result = apply_transfer(ledger, old, new)
    bias = "model.20.cv3.0.2.bias"
    assert ledger.records[-1].origin == "copied"
    assert torch.equal(result[bias], old[bias][[2, 0, 1]])


def test_what_does_not_fit_says_why() -> None:
    old = state(0.0, model__15__conv__weight=(5, 9))
    del old["model.2.bn.bias"]
    ledger = plan_transfer(old, state(0.5), 3, 21, "all")
    reasons = {record.tensor: record.reason for record in ledger.records}
    assert reasons["model.15.conv.weight"] == "the checkpoint's shape is 5x9"
    assert reasons["model.2.bn.bias"] == "the checkpoint has no such tensor"


def test_unknown_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="backbone"):
        plan_transfer({}, {}, 3, 21, "spine")
    assert MODULES == ("none", "backbone", "backbone+neck", "all")


def test_names_that_cannot_be_matched() -> None:
    assert match_classes(("a", "b"), ("c",)) is None
    assert match_classes(("a", "b"), ("a", "b")) is None
    assert match_classes(("0", "1"), ("a", "b")) is None
    assert match_classes((), ("a",)) is None


def test_the_ledger_file_has_one_line_per_tensor(tmp_path: Path) -> None:
    ledger = plan_transfer(state(0.0), state(0.5), 3, 21, "backbone")
    ledger.save(tmp_path / "ledger.csv")
    rows = list(csv.DictReader((tmp_path / "ledger.csv").open(encoding="utf-8")))
    assert [row["tensor"] for row in rows] == list(SHAPES)
    assert rows[0] == {
        "tensor": "model.0.conv.weight", "module": "0", "group": "backbone", "shape": "4x3",
        "origin": "copied", "reason": "backbone is handed on",
    }
    assert rows[2]["shape"] == "scalar"
