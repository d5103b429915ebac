"""Converting a detector to another label space; classes are matched by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from aoi_tl.data.synonyms import spelt_apart
from aoi_tl.errors import CheckpointError
from aoi_tl.transfer.detector import load_checkpoint, save_checkpoint
from aoi_tl.transfer.stage import build_start
from aoi_tl.transfer.weights import Ledger, is_class_layer

#: The class logit of a class that a detector does not know: a confidence of 2e-9.
SILENT = -20.0


def relabel_detector(checkpoint: Path, names: Sequence[str], out: Path) -> Path:
    """Write a detector with another list of classes, without training.

    Its predictions of same-named classes (case and surrounding blanks ignored) stay as they are.
    It never predicts the others.

    Parameters
    ----------
    checkpoint : Path
        A detector.
    names : sequence of str
        The class names of the new one.
    out : Path
        The new checkpoint.

    Returns
    -------
    Path
        `out`, or `checkpoint` itself where the names are its own.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be used or shares no class.
    """
    import torch

    model = load_checkpoint(checkpoint)
    own = [str(model.names[i]) for i in sorted(model.names)]
    if own == list(names):
        return checkpoint
    known = {name.strip().lower() for name in own}
    unknown = [i for i, name in enumerate(names) if name.strip().lower() not in known]
    if len(unknown) == len(names):
        cure = spelt_apart(names, own) or "map class names with aliases, or choose another source"
        raise CheckpointError(
            f"expected a detector that shares a class with {', '.join(names)}, got {checkpoint} "
            f"with {', '.join(own)}; {cure}"
        )
    new, _ = build_start(checkpoint, names, "all", seed=0)
    with torch.no_grad():
        for tensor, value in new.state_dict().items():
            if is_class_layer(tensor, len(new.model)):
                value[unknown] = SILENT if tensor.endswith("bias") else 0.0
    save_checkpoint(new, out)
    return out


def rename_classes(checkpoint: Path, aliases: Mapping[str, str], out: Path) -> Path:
    """Write a detector whose classes have other names; no tensor changes.

    Parameters
    ----------
    checkpoint : Path
        A detector.
    aliases : mapping of str to str
        New names by the old ones; others stay.
    out : Path
        The new checkpoint.

    Returns
    -------
    Path
        `out`, or `checkpoint` itself where no name changes.
    """
    model = load_checkpoint(checkpoint)
    names = {i: aliases.get(str(name), str(name)) for i, name in model.names.items()}
    if names == dict(model.names):
        return checkpoint
    model.names = names
    save_checkpoint(model, out)
    return out


def rows_not_learned(ledger: Ledger) -> dict[str, tuple[int, ...]]:
    """List the rows of a stage's initial weights that its checkpoint had no values for.

    Parameters
    ----------
    ledger : Ledger
        Of the stage.

    Returns
    -------
    dict of str to tuple of int
        By tensor: all rows of an initialised tensor, the rows of new classes of a class layer.
    """
    new = {}
    for record in ledger.records:
        rows = set(range(record.shape[0])) if record.shape else set()
        if record.origin == "copied":
            continue
        new[record.tensor] = tuple(sorted(rows - {row for row, _ in record.rows}))
    return new
