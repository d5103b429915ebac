"""Score sources against a target: signatures, transport, long tail, discrepancy, ranking, pick."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aoi_tl.data.dataset import Dataset
from aoi_tl.data.summary import Summary
from aoi_tl.errors import DataError, ExperimentError
from aoi_tl.ranking.selection import SourceScore, rank_sources, select_source
from aoi_tl.similarity.discrepancy import discrepancy
from aoi_tl.similarity.emd import SOLVERS, Solver, earth_movers_distance
from aoi_tl.similarity.gini import gini
from aoi_tl.similarity.signature import Signature, dataset_signature, elbow
from aoi_tl.workflows.progress import Tell, silent

if TYPE_CHECKING:
    import pandas

    from aoi_tl.caches.signature_cache import SignatureCache
    from aoi_tl.engine import Engine
    from aoi_tl.files.run_folder import RunFolder

ELBOW_SAMPLE = 64  # images in all that the number of clusters is chosen on
ELBOW_SHARE = 8  # images of one dataset among them, at most

Progress = Callable[[int, int], None]  # images done, images in all
Scored = Dataset | Summary


@dataclass(frozen=True)
class Ranking:
    """Sources in rank order for one target; what ``scores.json`` holds.

    Attributes
    ----------
    target : str
        The target's name.
    n_clusters : int
        Clusters of every signature of this comparison.
    method : str
        How the score is made up; "paper".
    sources : tuple of SourceScore
        The closest first, undefined scores last.
    selected : str or None
        The source to learn from; None where no score is defined.
    notes : tuple of str
        What concerns the target or the whole comparison.
    signatures : mapping of str to Signature
        Of the target and the sources, by name.
    """

    target: str
    n_clusters: int
    method: str
    sources: tuple[SourceScore, ...]
    selected: str | None
    notes: tuple[str, ...] = ()
    signatures: Mapping[str, Signature] = field(default_factory=dict, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Give the content of ``scores.json``."""
        rows = [{f.name: getattr(row, f.name) for f in fields(row)} for row in self.sources]
        return {
            "target": self.target,
            "n_clusters": self.n_clusters,
            "method": self.method,
            "sources": [{**row, "shared_classes": list(row["shared_classes"])} for row in rows],
            "selected": self.selected,
        }

    def to_json(self) -> str:
        """Give the text of ``scores.json``."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_frame(self) -> pandas.DataFrame:
        """Give the rows of ``scores.csv``."""
        import pandas

        rows = [
            {**row, "shared_classes": ";".join(row["shared_classes"])}
            for row in self.to_dict()["sources"]
        ]
        table = pandas.DataFrame(rows, columns=[f.name for f in fields(SourceScore)])
        return table.astype({"rank": "Int64"})


def score_sources(
    target: Scored,
    sources: Sequence[Scored],
    n_clusters: int | Literal["auto"] = "auto",
    method: str = "paper",
    solver: Solver = "slsqp",
    sample: int | Literal["all"] = "all",
    progress: Progress = lambda done, total: None,
    cache: SignatureCache | None = None,
) -> Ranking:
    """Rank sources by their domain discrepancy from a target, and pick one.

    The target is seen with its train and val splits, the sources with all of theirs. A source
    that is the target itself, or comes twice, is passed over.

    Parameters
    ----------
    target : Dataset or Summary
        What a detector is wanted for; its test split is not opened.
    sources : sequence of the same
        What could be learned from first, at least one besides the target.
    n_clusters : int or "auto", default "auto"
        Clusters of each signature; "auto" chooses them at the elbow of a small sample.
    method : str, default "paper"
        How the score is made up: "paper" is EMD times Gini over the number of shared classes.
    solver : {"slsqp", "exact", "auto"}, default "slsqp"
        As for `earth_movers_distance`.
    sample : int or "all", default "all"
        Images of each dataset that are looked at, evenly spread over it.
    progress : callable, optional
        Told how many images are done, and of how many.
    cache : SignatureCache, optional
        Where known signatures lie; the user's own unless given.

    Returns
    -------
    Ranking
        The sources in rank order and the name of the one picked.

    Raises
    ------
    DataError
        When there is nothing to score: no source, no box in the target, no readable image.
    ExperimentError
        When a setting is out of range.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from aoi_tl.data.dataset import Sample
    >>> from aoi_tl.data.images import write_image
    >>> from aoi_tl.caches.signature_cache import SignatureCache
    >>> def drawn(folder, name, grey):
    ...     image = Path(folder, f"{name}.png")
    ...     write_image(image, np.full((8, 8), grey, dtype=np.uint8))
    ...     sample = Sample(image, "train", np.array([0, 0, 1]), np.full((3, 4), 0.5))
    ...     return Dataset(name, Path(folder, name, "data.yaml"), ("dent", "crack"), (sample,))
    >>> with tempfile.TemporaryDirectory() as folder, SignatureCache(folder) as cache:
    ...     target, far, near = (drawn(folder, *d) for d in (("t", 9), ("far", 99), ("near", 19)))
    ...     ranking = score_sources(target, [far, near], cache=cache)
    >>> [(row.name, round(row.emd, 2), round(row.discrepancy, 3)) for row in ranking.sources]
    [('near', 17.32, 1.443), ('far', 155.88, 12.99)]
    """
    kept = apart(sources, [target])
    if not kept:
        raise DataError(
            f"expected at least one source besides {target.name}, got none; name other datasets"
        )
    with open_cache(cache) as signatures:
        comparison = Comparison(
            [target], kept, n_clusters, method, solver, sample, progress, signatures
        )
        return comparison.rank(target, kept)


def score_matrix(
    datasets: Sequence[Scored],
    n_clusters: int | Literal["auto"] = "auto",
    method: str = "paper",
    solver: Solver = "slsqp",
    sample: int | Literal["all"] = "all",
    progress: Progress = lambda done, total: None,
    cache: SignatureCache | None = None,
) -> tuple[Ranking, ...]:
    """Rank, for each dataset as a target, all others as its sources.

    Parameters
    ----------
    datasets : sequence of Dataset or Summary
        At least two; one that comes twice is passed over.
    n_clusters, method, solver, sample, progress, cache
        As for `score_sources`; the number of clusters is the same for all.

    Returns
    -------
    tuple of Ranking
        One per dataset, in order.

    Raises
    ------
    DataError
        When there are fewer than two datasets, or one has no boxes or no readable image.
    ExperimentError
        When a setting is out of range.
    """
    kept = apart(datasets, [])
    if len(kept) < 2:
        raise DataError(f"expected at least two datasets, got {len(kept)}; name more")
    with open_cache(cache) as signatures:
        comparison = Comparison(
            kept, kept, n_clusters, method, solver, sample, progress, signatures
        )
        return tuple(comparison.rank(target, apart(kept, [target])) for target in kept)


def run_score(
    target: str | Path,
    sources: Sequence[str | Path],
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    aliases: str | Path | None = None,
    resume: bool = False,
    tell: Tell = silent,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """Score sources for a target into a run folder.

    Parameters
    ----------
    target : str or Path
        The target's ``data.yaml``.
    sources : sequence of str or Path
        Those of the sources; the target and repeated files among them are passed over.
    out : str or Path
        The run folder; gets ``scores.json``, ``scores.csv``, ``environment.json``, ``notes.json``.
    settings : mapping, optional
        ``n_clusters``, ``method``, ``solver``, ``sample``, as under ``score`` in an experiment.
    aliases : str or Path, optional
        YAML that maps class names to common ones.
    resume : bool, default False
        Whether the folder may hold this run already.
    tell : callable, optional
        Told what is being done.
    engine : Engine, optional
        Where signatures are measured; on every core of this machine unless given.

    Returns
    -------
    dict
        The content of ``scores.json``.

    Raises
    ------
    AoiTlError
        When settings, data or folder cannot be used.
    """
    paths = _different([target, *sources])

    def rank(datasets: list[Summary], **chosen: Any) -> list[Ranking]:
        return [score_sources(datasets[0], datasets[1:], **chosen)]

    return _run(paths, rank, out, settings, aliases, resume, tell, engine)[0].to_dict()


def run_score_matrix(
    datasets: Sequence[str | Path],
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    aliases: str | Path | None = None,
    resume: bool = False,
    tell: Tell = silent,
    engine: Engine | None = None,
) -> list[dict[str, Any]]:
    """Score every dataset against every other into a run folder.

    Parameters
    ----------
    datasets : sequence of str or Path
        At least two ``data.yaml`` files.
    out, settings, aliases, resume, tell, engine
        As for `run_score`; ``scores.json`` holds a list, ``scores.csv`` a column ``target`` too.

    Returns
    -------
    list of dict
        The content of ``scores.json``: one ranking per target.

    Raises
    ------
    AoiTlError
        When settings, data or folder cannot be used.
    """

    def rank(loaded: list[Summary], **chosen: Any) -> list[Ranking]:
        return list(score_matrix(loaded, **chosen))

    found = _run(
        _different(datasets), rank, out, settings, aliases, resume, tell, engine, matrix=True
    )
    return [ranking.to_dict() for ranking in found]


def _run(
    paths: Sequence[Path],
    rank: Callable[..., list[Ranking]],
    out: str | Path,
    settings: Mapping[str, Any] | None,
    aliases: str | Path | None,
    resume: bool,
    tell: Tell,
    engine: Engine | None,
    matrix: bool = False,
) -> list[Ranking]:
    from aoi_tl.caches.signature_cache import SignatureCache
    from aoi_tl.experiment.detection import Score
    from aoi_tl.experiment.settings import SettingsFile, validate
    from aoi_tl.files.run_folder import environment, open_run
    from aoi_tl.workflows.shelf import sum_up_with_aliases

    class Asked(SettingsFile):
        score: Score

    words = {key: int(v) if str(v).isdecimal() else v for key, v in (settings or {}).items()}
    chosen = validate({"score": words}, Asked).score
    with SignatureCache(engine=engine) as cache, ExitStack() as stack:
        datasets = sum_up_with_aliases(paths, aliases, cache)
        fingerprint = {
            "score": chosen.model_dump(mode="json"),
            "matrix": matrix,
            "data": {dataset.name: dataset.fingerprint for dataset in datasets},
        }
        run = stack.enter_context(open_run(out, fingerprint, resume))
        found = rank(
            datasets,
            **chosen.model_dump(),
            progress=lambda done, total: tell("signatures", done, total),
            cache=cache,
        )
        notes = [f"{dataset.name}: {note}" for dataset in datasets for note in dataset.notes]
        run.write_json("environment.json", environment(**fingerprint))
        run.write_json("notes.json", notes + list(dict.fromkeys(n for r in found for n in r.notes)))
        run.write_table("scores.csv", _joined(found) if matrix else found[0].to_frame())
        for quantity in ("discrepancy", "emd", "gini") if matrix else ():
            run.write_table(f"{quantity}.csv", _square(found, quantity))
        run.write_json(
            "scores.json", [r.to_dict() for r in found] if matrix else found[0].to_dict()
        )
        _show(run, datasets, found, matrix, aliases, tell)
        run.mark_done()
    return found


def _show(
    run: RunFolder, datasets: Sequence[Summary], rankings: Sequence[Ranking], matrix: bool,
    aliases: str | Path | None, tell: Tell,
) -> None:
    """Keep what the datasets look like, and write the page."""
    from aoi_tl.data.labels import load_aliases
    from aoi_tl.report.page import write_page
    from aoi_tl.workflows.appearance import keep_appearance

    common = {} if aliases is None else load_aliases(aliases)
    if matrix:
        signatures = {name: own for r in rankings for name, own in r.signatures.items()}
        keep_appearance(run, None, datasets, signatures, (), common, tell)
    else:
        by_name, [ranking] = {dataset.name: dataset for dataset in datasets}, rankings
        ranked = [by_name[row.name] for row in ranking.sources if row.name in by_name]
        keep_appearance(run, by_name[ranking.target], ranked, ranking.signatures,
                        filter(None, [ranking.selected]), common, tell)
    write_page(run.path)


def _joined(rankings: Sequence[Ranking]) -> pandas.DataFrame:
    import pandas

    tables = [ranking.to_frame() for ranking in rankings]
    for table, ranking in zip(tables, rankings, strict=True):
        table.insert(0, "target", ranking.target)
    return pandas.concat(tables, ignore_index=True)


def _square(rankings: Sequence[Ranking], quantity: str) -> pandas.DataFrame:
    """One quantity of every source (columns) for every target (rows); blank where undefined."""
    import pandas

    rows = [
        {"target": r.target} | {row.name: getattr(row, quantity) for row in r.sources}
        for r in rankings
    ]
    return pandas.DataFrame(rows, columns=["target", *(r.target for r in rankings)])


def _different(paths: Sequence[str | Path]) -> list[Path]:
    """The paths, each file once."""
    kept: dict[str, Path] = {}
    for path in paths:
        kept.setdefault(os.path.realpath(path), Path(path))
    return list(kept.values())


class Comparison:
    """What all scores of one comparison share: K, the settings, the signatures once measured."""

    def __init__(
        self,
        targets: Sequence[Scored],
        sources: Sequence[Scored],
        n_clusters: int | Literal["auto"],
        method: str,
        solver: Solver,
        sample: int | Literal["all"],
        progress: Progress,
        cache: SignatureCache,
    ) -> None:
        _check_settings(n_clusters, method, solver, sample)
        _check_names({id(d): d for d in (*targets, *sources)}.values())
        self.method, self.solver, self.cache = method, solver, cache
        seen = [*(as_target(d) for d in targets), *sources]
        self.images = {_key(d): _spread(d.images, sample) for d in seen if d.images}
        self.states = {_key(d): _state(d, sample) for d in seen if d.images}
        self.done, self.total = 0, sum(map(len, self.images.values()))
        self.progress = progress
        self.known: dict[Any, tuple[Signature | None, int]] = {}
        for dataset in seen:
            if not dataset.images:
                raise DataError(
                    f"{dataset.path}: expected images to score (a target's in train or val), "
                    "got none; add some"
                )
        self.n_clusters = self._elbow() if n_clusters == "auto" else int(n_clusters)

    def rank(self, target: Scored, sources: Sequence[Scored]) -> Ranking:
        """Score every source against the target: the paper's method section."""
        seen = as_target(target)
        if not seen.label_space:
            raise DataError(
                f"{target.path}: expected boxes in the target's train and val splits, got none; "
                "label some images"
            )
        wanted, unreadable = self.signature(seen)
        rows, signatures = [], {target.name: wanted}
        for source in sources:
            signature, left_out = self.signature(source)
            signatures[source.name] = signature
            rows.append(
                score_one(
                    seen.label_space,
                    wanted,
                    source.name,
                    source.counts,
                    signature,
                    self.solver,
                    len(source.images),
                    left_out,
                )
            )
        notes = [f"{target.name}: {unreadable} unreadable images left out"] if unreadable else []
        notes += [self.cache.note] if self.cache.note else []
        ranked = rank_sources(rows)
        return Ranking(
            target.name, self.n_clusters, self.method, ranked, select_source(ranked), tuple(notes),
            signatures,
        )

    def signature(self, dataset: Scored) -> tuple[Signature, int]:
        """The dataset's signature and the number of its images that could not be read."""
        if not self.known:  # all at once: one list of work for all cores or machines
            self.known = dict(zip(self.images, self.cache.datasets(
                list(self.images.values()),
                self.n_clusters,
                lambda found: dataset_signature(found, self.n_clusters),
                self._tell,
                list(self.states.values()),
            ), strict=True))
        signature, unreadable = self.known[_key(dataset)]
        if signature is None:
            raise _unreadable(dataset, unreadable)
        return signature, unreadable

    def _elbow(self) -> int:
        """The number of clusters, chosen once on a small sample of all datasets."""
        share = max(1, min(ELBOW_SHARE, ELBOW_SAMPLE // len(self.images)))
        chosen = [image for images in self.images.values() for image in _spread(images, share)]
        curves = [curve for curve in self.cache.curves(chosen) if curve is not None]
        if not curves:  # the sample is broken: whoever has no readable image at all will say so
            curves = [curve for curve in self.cache.curves(self._all()) if curve is not None]
        if not curves:
            raise DataError(
                f"expected readable images, got {self.total} that cannot be read; check the files"
            )
        return elbow(curves)

    def _all(self) -> list[str | Path]:
        return [image for images in self.images.values() for image in images]

    def _tell(self, more: int) -> None:
        self.done += more
        self.progress(min(self.done, self.total), self.total)


def score_one(
    label_space: Sequence[str],
    wanted: Signature,
    name: str,
    counts: Mapping[str, int],
    signature: Signature,
    solver: Solver,
    images: int,
    unreadable: int = 0,
) -> SourceScore:
    """Hold one source against the target: EMD, Gini over the shared classes, discrepancy.

    Parameters
    ----------
    label_space : sequence of str
        Classes with an instance in the target, in its order.
    wanted : Signature
        The target's signature.
    name : str
        The source's name.
    counts : mapping
        The source's instances of each class.
    signature : Signature
        The source's signature.
    solver : str
        As for `earth_movers_distance`.
    images : int
        Images of the source.
    unreadable : int, default 0
        How many of them could not be read.

    Returns
    -------
    SourceScore
        Without a rank.

    Examples
    --------
    >>> grey, white = Signature([[99, 99, 99]], [1]), Signature([[255, 255, 255]], [1])
    >>> row = score_one(["a", "b"], grey, "s", {"a": 3, "b": 1}, white, "exact", 4)
    >>> row.gini, row.instances, round(row.discrepancy, 2)
    (0.25, 4, 33.77)
    """
    flow = earth_movers_distance(signature, wanted, solver)
    shared = tuple(label for label in label_space if counts.get(label))
    delta = gini([counts[label] for label in shared]) if shared else 0.0
    score = discrepancy(flow.distance, delta, len(shared))
    notes = [score.note, flow.note]
    notes += [f"{unreadable} unreadable images left out"] if unreadable else []
    return SourceScore(
        name=name,
        emd=flow.distance,
        gini=delta,
        shared_classes=shared,
        discrepancy=score.value,
        undefined=score.undefined,
        rank=None,
        images=images,
        instances=sum(counts.values()),
        solver=flow.solver,
        gap=flow.gap,
        note="; ".join(note for note in notes if note) or None,
    )


def as_target(dataset: Scored) -> Scored:
    """What scoring may see of a target: its test split is opened by evaluation alone."""
    return dataset.split("train", "val")


def _key(dataset: Scored) -> tuple[str, tuple[str, ...]]:
    return str(dataset.path), dataset.splits


def _state(dataset: Scored, sample: int | Literal["all"]) -> str:
    """What stands for the images looked at, where the dataset's state is known."""
    state = getattr(dataset, "state", "")
    return "\0".join([state, *dataset.splits, str(sample)]) if state else ""


def apart(datasets: Sequence[Scored], others: Sequence[Scored]) -> list[Scored]:
    """The datasets that are none of the others, each once."""
    seen = {dataset.path.resolve() for dataset in others}
    kept = []
    for dataset in datasets:
        if dataset.path.resolve() not in seen:
            seen.add(dataset.path.resolve())
            kept.append(dataset)
    return kept


def _spread(
    images: Sequence[str | Path], number: int | Literal["all"]
) -> Sequence[str | Path]:
    """At most ``number`` images, evenly spread."""
    if number == "all" or number >= len(images):
        return images
    return [images[i * len(images) // number] for i in range(number)]


def _check_names(datasets: Iterable[Scored]) -> None:
    names = [dataset.name for dataset in datasets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise DataError(
            f"expected datasets of different names, got {twice!r} twice; "
            "rename one's YAML or folder"
        )


def _check_settings(n_clusters: object, method: str, solver: str, sample: object) -> None:
    if n_clusters != "auto" and not (isinstance(n_clusters, int) and n_clusters >= 1):
        raise ExperimentError(
            f"expected n_clusters to be auto or an integer >= 1, got {n_clusters}"
        )
    if method != "paper":
        raise ExperimentError(f"expected method to be paper, got {method!r}")
    if solver not in SOLVERS:
        raise ExperimentError(f"expected solver to be one of {', '.join(SOLVERS)}, got {solver!r}")
    if sample != "all" and not (isinstance(sample, int) and sample >= 1):
        raise ExperimentError(f"expected sample to be all or an integer >= 1, got {sample}")


def _unreadable(dataset: Scored, number: int) -> DataError:
    return DataError(
        f"{dataset.path}: expected readable images, got {number} that cannot be read; "
        "check the files"
    )


def open_cache(given: SignatureCache | None) -> AbstractContextManager[SignatureCache]:
    """The cache given, left open, or the user's own, closed in the end."""
    if given is not None:
        return nullcontext(given)
    from aoi_tl.caches.signature_cache import SignatureCache

    return SignatureCache()
