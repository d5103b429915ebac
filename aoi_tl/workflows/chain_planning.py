"""Planning the chains of the arms: initial weights and training data per arm and source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aoi_tl.data.dataset import Dataset
from aoi_tl.data.labels import load_aliases
from aoi_tl.data.synonyms import spelt_apart
from aoi_tl.errors import DataError, ExperimentError
from aoi_tl.experiment.detection import (
    DETECTOR_ARMS,
    SOURCE_ARMS,
    UNION_ARMS,
    Experiment,
)
from aoi_tl.files.run_folder import folder_name
from aoi_tl.ranking.ranking import Ranking
from aoi_tl.workflows.adapted_data import AdaptedData, Prepared
from aoi_tl.workflows.chain import Chain

if TYPE_CHECKING:
    from aoi_tl.transfer.detectors import SourceDetector


def chains_of(
    experiment: Experiment, data: AdaptedData, detectors: Mapping[str, SourceDetector],
    picked: Sequence[Dataset], labelled: Prepared,
) -> list[Chain]:
    """Give one chain for each arm and source.

    Parameters
    ----------
    experiment : Experiment
        Its arms and the lengths of its stages.
    data : AdaptedData
        Makes their training data.
    detectors : mapping of str to SourceDetector
        As `detectors_of` gives them.
    picked : sequence of Dataset
        The sources to learn from one by one.
    labelled : Prepared
        The target's labelled images that they may see.

    Returns
    -------
    list of Chain
    """
    chains: list[Chain] = []
    for arm in experiment.arms:
        if arm == "stock-long":
            continue
        if arm == "auto":
            chains.append(_auto(detectors["union"], labelled))
            continue
        if arm in UNION_ARMS:
            chains.append(_from_detector(arm, arm, detectors["union"], labelled))
            continue
        if arm in DETECTOR_ARMS:
            if arm == "zero-shot":
                for source in picked:
                    _check_source(source, source, data)
            chains += [
                _from_detector(arm, _named(arm, source, picked), detectors[source.name], labelled)
                for source in picked
            ]
            continue
        method = arm.removesuffix("-all")
        modules = {"scratch": "none", "stock": "stock"}.get(arm, experiment.transfer.modules)
        modules = "all" if arm.endswith("-all") else modules
        to_learn = data.balanced(labelled) if method == "method" else labelled
        if method not in SOURCE_ARMS:
            chains.append(Chain(arm, modules, target_data=to_learn.dataset.path))
            continue
        for source in picked:
            learned_first = data.whole(source)
            if method != "full-source":
                learned_first = data.subset(learned_first)
                _check_source(learned_first.dataset, source, data)
            if method == "method":
                learned_first = data.balanced(learned_first)
            chains.append(Chain(
                _named(arm, source, picked), modules, source.name, learned_first.dataset.path,
                to_learn.dataset.path,
            ))
    if "stock-long" in experiment.arms:
        longer = _times_longer(experiment, data, chains, labelled)
        chains.insert(experiment.arms.index("stock-long"), Chain(
            "stock-long", "stock", target_data=labelled.dataset.path, longer=longer,
        ))
    return chains


def _named(arm: str, source: Dataset, picked: Sequence[Dataset]) -> str:
    return arm if len(picked) == 1 else f"{arm}@{source.name}"


def _from_detector(arm: str, name: str, detector: SourceDetector, labelled: Prepared) -> Chain:
    averaged = arm.endswith("soup")
    # chain-soup shares the training of chain, union-soup that of union-chain.
    plain = name.replace(arm, "chain" if arm == "chain-soup" else "union-chain")
    return Chain(
        name, "all", detector.name,
        target_data=None if arm in ("zero-shot", "union") else labelled.dataset.path,
        detector=detector, mixed=arm.endswith("joint"), averaged=averaged,
        trained_as=plain if averaged else "",
    )


def _auto(union: SourceDetector, labelled: Prepared) -> Chain:
    """The chain of ``auto``, with plain fine-tuning and the union arms as candidates."""
    data = labelled.dataset.path
    return Chain("auto", "all", union.name, target_data=data, detector=union, candidates=(
        Chain("stock", "stock", target_data=data),
        *(_from_detector(arm, arm, union, labelled)
          for arm in ("union", "union-soup", "union-chain")),
    ))


def _times_longer(
    experiment: Experiment, data: AdaptedData, chains: Sequence[Chain], labelled: Prepared
) -> float:
    """How many times the target's stage the longest chain takes, in steps of the optimiser."""
    from aoi_tl.transfer.mixing import optimiser_steps

    def steps(n_images: int, stage: Literal["source", "target"]) -> int:
        arguments = experiment.train.arguments(stage)
        return optimiser_steps(
            n_images, arguments["epochs"], arguments["batch"], arguments.get("nbs", 64)
        )

    lengths = [
        sum(times * _train_images(data, path) for path, times in chain.detector.data)
        if chain.detector else _train_images(data, chain.source_data)
        for chain in chains if chain.detector or chain.source_data
    ]
    if not lengths:
        raise ExperimentError(
            f"{experiment.where('arms')}: expected an arm with a source beside stock-long, which "
            "trains as long, got none; add one, or leave stock-long out"
        )
    plain = steps(len(labelled.dataset.split("train").samples), "target")
    return (plain + max(steps(n_images, "source") for n_images in lengths)) / plain


def _train_images(data: AdaptedData, file: Path | None) -> int:
    [prepared] = [p for p in data.made.values() if p.dataset.path == file]
    return len(prepared.dataset.split("train").samples)


def source_detectors(
    experiment: Experiment, ranking: Ranking, data: AdaptedData, sources: Sequence[Dataset],
    weights: Path,
) -> dict[str, SourceDetector]:
    """Define each source's detector, and the detector of the best sources together (``union``)."""
    if not set(experiment.arms) & {*DETECTOR_ARMS, *UNION_ARMS, "auto"}:
        return {}
    best = [row.name for row in ranking.sources][: experiment.union.best]
    together = [source for source in sources if source.name in best]
    # What shares no class with the target is no part of a union, unless nothing else is there.
    shared = [source for source in together if _shares(source, data)]
    if "union" in experiment.arms and not shared:
        theirs = [name for source in together for name in source.label_space]
        cure = spelt_apart(data.label_space, theirs) or "map class names with aliases"
        raise ExperimentError(
            f"{experiment.where('arms')}: expected a source that shares a class with the target "
            f"({', '.join(data.label_space)}) for the arm union, which does not train, got none; "
            f"{cure}, or leave union out"
        )
    return detectors_of(
        experiment, data, sources, shared or together, weights, experiment.seeds[0]
    )


def _shares(source: Dataset, data: AdaptedData) -> bool:
    return bool(set(source.split("train").label_space) & set(data.label_space))


def detectors_of(
    experiment: Experiment, data: AdaptedData, sources: Sequence[Dataset],
    together: Sequence[Dataset], weights: Path, seed: int,
) -> dict[str, SourceDetector]:
    """Define detectors: given by the user, or trained once and kept.

    Parameters
    ----------
    experiment : Experiment
        Its source stage, and the given detectors.
    data : AdaptedData
        Writes the sources as they are.
    sources : sequence of Dataset
        Each gets a detector of its own.
    together : sequence of Dataset
        Those of the detector ``union``; empty if no arm uses it.
    weights : Path
        The checkpoint that source stages begin with.
    seed : int
        Of the source stages.

    Returns
    -------
    dict of str to SourceDetector
        By the source's name, and ``union``. Nothing is trained yet.

    Raises
    ------
    DataError
        If the classes of a union cannot be distinguished.
    """
    from aoi_tl.caches.signature_cache import SignatureCache
    from aoi_tl.transfer.detectors import SourceDetector
    from aoi_tl.transfer.mixing import joint_names, source_times

    given = _given_detectors(experiment, data, sources)
    arguments = experiment.train.arguments("source")
    with SignatureCache() as cache:
        contents = {
            source.name: source.split("train").fingerprint(
                cache.contents(source.split("train").images).__getitem__
            )
            for source in sources
        }
    files = {source.name: data.whole(source).dataset.path for source in sources}
    found = {
        source.name: SourceDetector(
            source.name, ((files[source.name], 1),), (contents[source.name],), weights, arguments,
            seed, given.get(source.name),
        )
        for source in sources
    }
    if set(experiment.arms) & {*UNION_ARMS, "auto"}:
        joint_names(together)  # refused before anything is trained
        times = source_times(
            [len(source.split("train").samples) for source in together], experiment.union.evenness
        )
        found["union"] = SourceDetector(
            "union", tuple((files[s.name], n) for s, n in zip(together, times, strict=True)),
            tuple(contents[s.name] for s in together), weights, arguments, seed,
        )
    return found


def _given_detectors(
    experiment: Experiment, data: AdaptedData, sources: Sequence[Dataset]
) -> dict[str, Path]:
    """Give the detectors that exist already, their classes under the common names."""
    from aoi_tl.transfer.label_space import rename_classes

    given = experiment.checkpoints
    aliases = load_aliases(experiment.aliases) if given and experiment.aliases else {}
    return {
        source.name: rename_classes(
            Path(given[str(source.path)]), aliases,
            data.run.path / "weights" / f"{folder_name(source.name)}.pt",
        )
        for source in sources if str(source.path) in given
    }


def sources_of(chains: Sequence[Chain]) -> tuple[str, ...]:
    """Name the sources that chains learn from, each once, those of a union one by one."""
    names: list[str] = []
    for chain in chains:
        if chain.detector is not None:
            names += [file.parent.name for file, _ in chain.detector.data]
        elif chain.source is not None:
            names.append(chain.source)
    return tuple(dict.fromkeys(names))


def _check_source(learned: Dataset, source: Dataset, data: AdaptedData) -> None:
    if not _shares(learned, data):
        raise DataError(
            f"{source.path}: expected boxes of the target's classes in its train split, got none; "
            "choose another source under 'pick', or map class names with aliases"
        )
