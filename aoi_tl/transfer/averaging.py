"""Averaging the weights of two checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aoi_tl.errors import CheckpointError, ExperimentError
from aoi_tl.transfer.detector import load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from torch import Tensor


def average_checkpoints(
    source: Path, tuned: Path, out: Path, tuned_share: float = 0.5,
    only_tuned: Mapping[str, Collection[int]] | None = None,
) -> Path:
    """Write the weighted mean of a checkpoint and its fine-tuned self.

    Parameters
    ----------
    source : Path
        The checkpoint before fine-tuning, with the same class names as `tuned`.
    tuned : Path
        The checkpoint after fine-tuning.
    out : Path
        The new checkpoint.
    tuned_share : float
        The weight of `tuned`, above 0 and below 1.
    only_tuned : mapping of str to collection of int, optional
        By tensor name, the rows that `source` has no learned values for (a class that it never
        saw): they are `tuned`'s alone.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    CheckpointError
        If the two differ in architecture or class names.
    ExperimentError
        If the share is out of range.

    Notes
    -----
    Running means and variances of BatchNorm are averaged like every other tensor; counters are
    `tuned`'s.

    References
    ----------
    .. [1] Wortsman et al. "Robust fine-tuning of zero-shot models." CVPR 2022.
    .. [2] Wortsman et al. "Model soups: averaging weights of multiple fine-tuned models improves
       accuracy without increasing inference time." ICML 2022.
    """
    if not 0 < tuned_share < 1:
        raise ExperimentError(
            f"expected a share of the fine-tuned weights above 0 and below 1, got {tuned_share}"
        )
    first, second = load_checkpoint(source), load_checkpoint(tuned)
    before, after = first.state_dict(), second.state_dict()
    names = [list(model.names.values()) for model in (first, second)]
    shapes = [{k: v.shape for k, v in state.items()} for state in (before, after)]
    if names[0] != names[1] or shapes[0] != shapes[1]:
        raise CheckpointError(
            f"expected two checkpoints of one architecture with the same classes, got {source} and "
            f"{tuned}; average a checkpoint with what was trained from it"
        )
    second.load_state_dict(_average(before, after, tuned_share, only_tuned or {}), strict=True)
    save_checkpoint(second, out)
    return out


def _average(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], tuned_share: float,
    only_tuned: Mapping[str, Collection[int]],
) -> dict[str, Tensor]:
    state = {}
    for name, value in after.items():
        if value.is_floating_point():
            mean = (1 - tuned_share) * before[name] + tuned_share * value
            rows = sorted(only_tuned.get(name, ()))
            mean[rows] = value[rows]
            state[name] = mean
        else:
            state[name] = value
    return state
