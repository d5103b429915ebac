"""The adapted data that the arms train on, each made once and kept in the run folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aoi_tl.adaptation.balance import balance
from aoi_tl.adaptation.few_labels import nested_subsets
from aoi_tl.adaptation.folds import folds
from aoi_tl.adaptation.subset import subset_to_label_space
from aoi_tl.data.dataset import Dataset
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.data.yolo.write import write_dataset
from aoi_tl.experiment.detection import Experiment
from aoi_tl.files.run_folder import RunFolder, folder_name
from aoi_tl.similarity.gini import gini

if TYPE_CHECKING:
    import pandas

Step = Literal["before", "subset", "balanced"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A dataset at one step of its adaptation, as stored in the run folder.

    Attributes
    ----------
    origin : str
        The name of the dataset that it was made from.
    step : {"before", "subset", "balanced"}
        The last step applied to it.
    dataset : Dataset
        What plain Ultralytics trains on; its ``path`` is the ``data.yaml``.
    """

    origin: str
    step: Step
    dataset: Dataset


@dataclass
class AdaptedData:
    """Makes the data of the arms: new images under ``samples/``, links and labels under ``data/``.

    Parameters
    ----------
    run : RunFolder
    experiment : Experiment
        Its subset and balance settings.
    label_space : tuple of str
        The target's classes: those with an instance in its train or validation split.
    progress : callable
        Called with what is being written.
    parts : mapping of Path to str
        Which part each of the target's training images shows: few labelled images hold all of a
        part's images or none. Every image is a part of its own unless given.
    """

    run: RunFolder
    experiment: Experiment
    label_space: tuple[str, ...]
    progress: Callable[[str, int, int], None]
    parts: Mapping[Path, str] = field(default_factory=dict)
    made: dict[tuple[str, Step], Prepared] = field(default_factory=dict)
    held_out: set[str] = field(default_factory=set)

    def whole(self, dataset: Dataset) -> Prepared:
        """Give a dataset unchanged."""
        return self._once(dataset.name, "before", lambda folder: dataset)

    def few(self, dataset: Dataset, size: int, seed: int) -> Prepared:
        """Give some of a dataset's training images, and no other split."""
        return self._once(f"{dataset.name}-n{size}-s{seed}", "before", lambda folder: (
            nested_subsets(dataset, self._sizes, seed, self.parts)[size]
        ))

    def folds(
        self, labelled: Prepared, number: int, parts: Mapping[Path, str]
    ) -> tuple[Prepared, ...]:
        """Give a dataset `number` times, each time with other training images held out.

        The held-out images are the test split of what is given; those of one part stay together.
        """
        held_out = folds(labelled.dataset, number, self.experiment.seeds[0], parts)
        found = tuple(
            self._once(f"{labelled.origin}-fold{i}", "before", partial(_given, fold))
            for i, fold in enumerate(held_out)
        )
        self.held_out |= {prepared.origin for prepared in found}
        return found

    @property
    def _sizes(self) -> list[int]:
        return [size for size in self.experiment.target_images if size != "all"]

    def subset(self, prepared: Prepared) -> Prepared:
        """Reduce a dataset to the target's classes."""
        return self._once(prepared.origin, "subset", lambda folder: subset_to_label_space(
            prepared.dataset, self.label_space, mixed=self.experiment.subset.mixed, folder=folder
        ))

    def balanced(self, prepared: Prepared) -> Prepared:
        """Balance the classes of a dataset's train split."""
        knobs = self.experiment.balance
        return self._once(prepared.origin, "balanced", lambda folder: balance(
            prepared.dataset, folder, minority_to=knobs.minority.to,
            majority_at_most=knobs.majority.at_most, seed=self.experiment.seeds[0],
        ).dataset)

    def _once(self, origin: str, step: Step, make: Callable[[Path], Dataset]) -> Prepared:
        if (origin, step) not in self.made:
            name = folder_name(origin if step == "before" else f"{origin}-{step}")
            file = self.run.path / "data" / name / "data.yaml"
            if not file.is_file():
                self.progress(f"writing {name}", 0, 0)
                samples = self.run.path / "samples" / name
                # Left by a run that was killed while it made them: nothing points to them yet.
                shutil.rmtree(samples, ignore_errors=True)
                write_dataset(make(samples), file.parent)
            self.made[origin, step] = Prepared(origin, step, load_dataset(file))
        return self.made[origin, step]

    def counts(self) -> pandas.DataFrame:
        """Count the training instances of every class before and after each step.

        Returns
        -------
        DataFrame
            ``dataset, class, before, subset, balanced``: a row per class, then ``images`` and
            ``gini`` (of the classes present at that step). A step not taken is left blank.
        """
        import pandas as pd

        rows: list[dict[str, object]] = []
        for origin in dict.fromkeys(origin for origin, _ in self.made):
            if origin in self.held_out:
                continue
            trains = {
                step: prepared.dataset.split("train")
                for (name, step), prepared in self.made.items() if name == origin
            }
            for label in trains["before"].names:
                rows.append({"dataset": origin, "class": label} | {
                    step: train.counts.get(label, 0) for step, train in trains.items()
                })
            rows.append({"dataset": origin, "class": "images"} | {
                step: len(train.samples) for step, train in trains.items()
            })
            rows.append({"dataset": origin, "class": "gini"} | {
                step: round(gini([n for n in train.counts.values() if n]), 6)
                for step, train in trains.items() if train.instances
            })
        columns = ["dataset", "class", "before", "subset", "balanced"]
        table = pd.DataFrame(rows, dtype=object).reindex(columns=columns)
        return table.where(table.notna(), "")


def _given(dataset: Dataset, folder: Path) -> Dataset:
    return dataset
