"""Copying tensors from one detector to the next: state dicts in, a ledger out.

A YOLO model is a numbered sequence of modules, ``model.0`` to ``model.n``: first the backbone, then
the neck; the last module is the detection head. Groups are cut by number, never by a part of the
name, because ``model.2`` is also a prefix of ``model.20``.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aoi_tl.files.run_folder import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

#: What a stage can take over from its checkpoint.
MODULES = ("none", "backbone", "backbone+neck", "all")

_GROUPS = {
    "none": frozenset[str](),
    "backbone": frozenset({"backbone"}),
    "backbone+neck": frozenset({"backbone", "neck"}),
    "all": frozenset({"backbone", "neck", "head"}),
}


@dataclass(frozen=True)
class TensorRecord:
    """Where one tensor of a new model came from.

    Parameters
    ----------
    tensor : str
        Its name in the model's state dict.
    module : int
        The number of the module it belongs to.
    group : str
        ``backbone``, ``neck`` or ``head``.
    shape : tuple of int
        Its shape in the new model; ``()`` for a scalar.
    origin : str
        ``copied`` (every value is the checkpoint's), ``rows copied`` (some rows are, see `rows`) or
        ``initialised`` (no value is).
    reason : str
        Why, in words.
    rows : tuple of (int, int)
        For ``rows copied``: (row of the new model, row of the checkpoint).
    """

    tensor: str
    module: int
    group: str
    shape: tuple[int, ...]
    origin: str
    reason: str
    rows: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Ledger:
    """Every tensor of a new model, exactly once, with its origin.

    Parameters
    ----------
    records : tuple of TensorRecord
        In the order of the model's state dict.

    Examples
    --------
    >>> record = TensorRecord("model.0.bn.bias", 0, "backbone", (16,), "copied", "handed on")
    >>> Ledger((record,)).counts
    {'copied': 1, 'rows copied': 0, 'initialised': 0}
    """

    records: tuple[TensorRecord, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many tensors were copied, copied in rows, and newly initialised."""
        counts = {"copied": 0, "rows copied": 0, "initialised": 0}
        for record in self.records:
            counts[record.origin] += 1
        return counts

    def save(self, path: Path) -> None:
        """Write the ledger as CSV, one line per tensor.

        Parameters
        ----------
        path : Path
            The file, written atomically.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["tensor", "module", "group", "shape", "origin", "reason"])
        for record in self.records:
            shape = "x".join(map(str, record.shape)) or "scalar"
            writer.writerow(
                [
                    record.tensor,
                    record.module,
                    record.group,
                    shape,
                    record.origin,
                    record.reason,
                ]
            )
        write_atomically(path, text.getvalue())


def module_index(tensor: str) -> int:
    """Read the number of the module that a tensor belongs to.

    Parameters
    ----------
    tensor : str
        A state-dict name such as ``model.12.cv1.conv.weight``.

    Returns
    -------
    int
        The module's number.

    Raises
    ------
    ValueError
        If the name does not begin with ``model.<number>.``.

    Examples
    --------
    >>> module_index("model.20.cv1.conv.weight")
    20
    """
    found = re.match(r"model\.(\d+)\.", tensor)
    if not found:
        raise ValueError(f"expected a tensor named model.<number>.<...>, got {tensor!r}")
    return int(found.group(1))


def module_group(index: int, backbone_length: int, n_modules: int) -> str:
    """Name the group that a module belongs to.

    Parameters
    ----------
    index : int
        The module's number.
    backbone_length : int
        How many modules the backbone has, read from the model's own description.
    n_modules : int
        How many modules the model has; the last one is the head.

    Returns
    -------
    str
        ``backbone``, ``neck`` or ``head``.

    Examples
    --------
    >>> [module_group(i, backbone_length=10, n_modules=23) for i in (2, 9, 10, 20, 22)]
    ['backbone', 'backbone', 'neck', 'neck', 'head']
    """
    if index < backbone_length:
        return "backbone"
    return "head" if index == n_modules - 1 else "neck"


def plan_transfer(
    source_state: Mapping[str, Tensor],
    target_state: Mapping[str, Tensor],
    backbone_length: int,
    n_modules: int,
    modules: str = "backbone",
    source_names: Sequence[str] = (),
    target_names: Sequence[str] = (),
) -> Ledger:
    """Decide for every tensor of a new model whether it is copied or stays as initialised.

    ``all`` copies every tensor whose shape fits. The class layers (the last convolution of each
    class branch) are matched by class name, ignoring case and surrounding blanks: rows of
    same-named classes are copied, the other rows stay as initialised. This is what Ultralytics
    itself does when it fine-tunes a checkpoint, including its one surprise: where no name matches
    but the number of classes is the same, the rows are copied in their order.

    Parameters
    ----------
    source_state, target_state : mapping of str to Tensor
        The checkpoint's and the new model's state dict.
    backbone_length, n_modules : int
        Where the new model is cut, see `module_group`.
    modules : str
        One of `MODULES`.
    source_names, target_names : sequence of str
        Class names in the order of the class layers' rows; used by ``all`` alone.

    Returns
    -------
    Ledger
        One record for every tensor of `target_state`, in its order.

    Raises
    ------
    ValueError
        If `modules` is not one of `MODULES`.
    """
    if modules not in _GROUPS:
        raise ValueError(f"expected modules to be one of {', '.join(MODULES)}, got {modules!r}")
    rows = match_classes(source_names, target_names) if modules == "all" else None
    records = []
    for tensor, value in target_state.items():
        index = module_index(tensor)
        group = module_group(index, backbone_length, n_modules)
        shape = tuple(value.shape)
        taken: tuple[tuple[int, int], ...] = ()
        found = source_state.get(tensor)
        if group not in _GROUPS[modules]:
            origin = "initialised"
            reason = "training from scratch" if modules == "none" else f"{group} is not handed on"
        elif found is None:
            origin, reason = "initialised", "the checkpoint has no such tensor"
        elif rows and is_class_layer(tensor, n_modules) and shape[1:] == tuple(found.shape[1:]):
            origin, taken = "rows copied", rows
            shared = ", ".join(target_names[row] for row, _ in rows)
            reason = f"rows of same-named classes: {shared}"
            if len(rows) == shape[0]:  # the same classes in another order: no value is new
                origin = "copied"
        elif tuple(found.shape) != shape:
            origin = "initialised"
            reason = f"the checkpoint's shape is {'x'.join(map(str, found.shape)) or 'scalar'}"
        else:
            origin, reason = "copied", f"{group} is handed on"
        records.append(TensorRecord(tensor, index, group, shape, origin, reason, taken))
    return Ledger(tuple(records))


def apply_transfer(
    ledger: Ledger, source_state: Mapping[str, Tensor], target_state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Carry out a ledger.

    Parameters
    ----------
    ledger : Ledger
        What `plan_transfer` decided.
    source_state, target_state : mapping of str to Tensor
        The checkpoint's and the new model's state dict; neither is changed.

    Returns
    -------
    dict of str to Tensor
        The new model's state dict, in the data types of `target_state`.
    """
    state = {}
    for record in ledger.records:
        value = target_state[record.tensor].detach().clone()
        if record.rows:
            new, old = (list(column) for column in zip(*record.rows, strict=True))
            value[new] = source_state[record.tensor][old].to(value.dtype)
        elif record.origin == "copied":
            value.copy_(source_state[record.tensor])
        state[record.tensor] = value
    return state


def match_classes(
    source_names: Sequence[str], target_names: Sequence[str]
) -> tuple[tuple[int, int], ...] | None:
    """Pair the rows of two class layers by class name.

    Parameters
    ----------
    source_names, target_names : sequence of str
        Class names in the order of the rows.

    Returns
    -------
    tuple of (int, int) or None
        (target row, source row) of every same-named class; None where rows are not matched by name:
        no name is shared, the names are placeholders (``0``, ``1``, ...), or both lists are the
        same.

    Examples
    --------
    >>> match_classes(("person", "scratch"), ("crack", "Scratch"))
    ((1, 1),)
    >>> match_classes(("0", "1"), ("crack", "scratch")) is None
    True
    """
    if any(
        all(name == str(i) for i, name in enumerate(names))
        for names in (source_names, target_names)
    ):
        return None
    if list(source_names) == list(target_names):
        return None
    rows = {name.strip().lower(): row for row, name in enumerate(source_names)}
    pairs = tuple(
        (row, rows[name.strip().lower()])
        for row, name in enumerate(target_names)
        if name.strip().lower() in rows
    )
    same = len(source_names) == len(target_names) == len(pairs) and all(a == b for a, b in pairs)
    return None if same or not pairs else pairs


def is_class_layer(tensor: str, n_modules: int) -> bool:
    """Say whether a tensor has a row for each class.

    Parameters
    ----------
    tensor : str
        Its name in the state dict.
    n_modules : int
        Modules of the model; the last is the head.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_class_layer("model.22.cv3.0.2.bias", 23), is_class_layer("model.22.cv2.0.2.bias", 23)
    (True, False)
    """
    # A class branch is a row of blocks that ends in a plain convolution; only that one has its
    # weight and bias directly below its number (blocks have them below ``conv`` and ``bn``).
    head = rf"model\.{n_modules - 1}\.(cv3|one2one_cv3)\.\d+\.\d+\.(weight|bias)"
    return re.fullmatch(head, tensor) is not None
