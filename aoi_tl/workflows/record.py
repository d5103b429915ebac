"""The record of a run: its resolved experiment and everything needed to repeat it."""

from __future__ import annotations

from collections.abc import Mapping

from aoi_tl.experiment.base import BaseExperiment
from aoi_tl.files.run_folder import RunFolder, environment


def record_experiment(
    run: RunFolder, experiment: BaseExperiment, data: Mapping[str, str], name: str, sha256: str,
    command: str,
) -> None:
    """Write ``experiment.yaml`` and ``environment.json``.

    Parameters
    ----------
    run : RunFolder
    experiment : BaseExperiment
        With every default filled in.
    data : mapping of str to str
        The fingerprint of each dataset.
    name, sha256 : str
        The weights that training starts from, and their hash.
    command : str
        The ``aoi-tl`` command that repeats the run: ``run``, ``classify`` or ``benchmark``.
    """
    import yaml

    resolved = experiment.model_dump(mode="json")
    run.write("experiment.yaml", yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True))
    run.write_json(
        "environment.json",
        environment(
            device=experiment.device,
            seeds=list(experiment.seeds),
            data=data,
            weights={"name": name, "sha256": sha256},
            repeat=f"aoi-tl {command} experiment.yaml --out ANOTHER_FOLDER",
        ),
    )
