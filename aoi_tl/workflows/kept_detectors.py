"""Finding the kept detectors of a shelf's sources for measures that run them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aoi_tl.caches.signature_cache import SignatureCache
from aoi_tl.data.dataset import Dataset
from aoi_tl.data.summary import Summary
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.ranking.measures import looks_through_detectors
from aoi_tl.transfer.detectors import any_kept, find_kept


def kept_detectors(
    sources: Sequence[Dataset | Summary], method: str, cache: SignatureCache
) -> dict[str, Path]:
    """Find the kept detectors of sources, if the method uses them.

    Parameters
    ----------
    sources : sequence of Dataset or Summary
    method : str
        One of `aoi_tl.ranking.measures.METHODS`.
    cache : SignatureCache
        It knows the contents of files that did not change.

    Returns
    -------
    dict of str to Path
        By the name of the source; those without one are not in it.
    """
    if not looks_through_detectors(method) or not any_kept():
        return {}
    found = {}
    for source in sources:
        if (detector := find_kept([content_of(source, cache)])) is not None:
            found[source.name] = detector
    return found


def content_of(source: Dataset | Summary, cache: SignatureCache) -> str:
    """Give the fingerprint of a source's train split, by which its detectors are kept."""
    whole = source if isinstance(source, Dataset) else load_dataset(
        source.path, source.aliases, depth=source.depth
    )
    train = whole.split("train")
    return train.fingerprint(cache.contents(train.images).__getitem__)
