"""Explaining a source's rank in one sentence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aoi_tl.ranking.domain import Domain
from aoi_tl.ranking.measure import Measured


def explain(target: Domain, source: Domain, measured: Mapping[str, Measured]) -> str:
    """Explain the measures of a source in one sentence.

    Parameters
    ----------
    target, source : Domain
    measured : mapping of str to Measured
        Those that were taken of the source.

    Returns
    -------
    str
        Parts for which there is no measure are left out.

    Examples
    --------
    >>> from aoi_tl.similarity.signature import Signature
    >>> grey, white = Signature([[99, 99, 99]], [1]), Signature([[255, 255, 255]], [1])
    >>> target = Domain("t", {"dent": 1, "crack": 1}, 2, grey)
    >>> explain(target, Domain("s", {"dent": 3}, 4, white), {})
    'one of your 2 classes (dent); much brighter images; 3 boxes in 4 images'
    """
    parts = [measured[name].words for name in ("zero-shot", "class-blind") if name in measured][:1]
    parts += [measured["proxy"].words] if "proxy" in measured else []
    parts += [_classes(target, source), *_boxes(target, source, measured), _colours(target, source)]
    parts.append(f"{source.instances} boxes in {source.images} images")
    return "; ".join(part for part in parts if part)


def _classes(target: Domain, source: Domain) -> str:
    shared, wanted = target.shared_classes(source), len(target.label_space)
    if not shared:
        return "none of your classes"
    if len(shared) == wanted:
        return "your class" if wanted == 1 else f"all of your {wanted} classes"
    named = ", ".join(shared[:3]) + (", ..." if len(shared) > 3 else "")
    return f"{'one' if len(shared) == 1 else len(shared)} of your {wanted} classes ({named})"


def _boxes(target: Domain, source: Domain, measured: Mapping[str, Measured]) -> list[str]:
    if "box" not in measured or measured["box"].value is None:
        return []
    wanted, found = (np.median(side.shapes.pooled()[0]) for side in (target, source))
    factor = 2 ** float(found - wanted)
    if 0.8 <= factor <= 1.25:
        return ["boxes of about your size"]
    times = f"{factor:.1f} times" if factor > 1 else f"{1 / factor:.1f} times"
    return [f"boxes {times} {'larger' if factor > 1 else 'smaller'} than yours"]


def _colours(target: Domain, source: Domain) -> str:
    means = [float(side.signature.weights @ side.signature.centroids.mean(axis=1))
             for side in (target, source)]
    far = source.flow_to(target).distance
    if far < 20:
        return "much the same colours"
    shift = means[1] - means[0]
    if abs(shift) * np.sqrt(3) < far / 2:
        return "other colours or contrast"
    much = "much " if abs(shift) > 60 else ""
    return f"{much}{'brighter' if shift > 0 else 'darker'} images"
