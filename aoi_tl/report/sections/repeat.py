"""Section "Can I repeat it?": experiment, versions, fingerprints and command."""

from __future__ import annotations

import json
import shlex

from aoi_tl.report.run_tables import RunTables
from aoi_tl.report.section import Section

#: Tables of a run that the page embeds in full if they are small enough.
_TABLES = (
    "scores.csv", "arms.csv", "summary.csv", "learning_curve.csv", "per_class.csv",
    "operating.csv", "counts.csv", "confusion.csv", "robustness.csv", "timings.csv", "pairs.csv",
    "ranking.csv", "calibration.csv", "measures.csv", "evidence.csv",
)
_MOST_BYTES = 200_000


def build(tables: RunTables) -> Section | None:
    """Show everything needed to repeat the run.

    Parameters
    ----------
    tables : RunTables

    Returns
    -------
    Section
    """
    environment = tables.json("environment.json") or {}
    experiment = tables.text("experiment.yaml")
    command = environment.get("repeat")
    if command and experiment:
        command = str(command).replace("experiment.yaml", shlex.quote(
            f"{tables.name}/experiment.yaml"), 1)
    packages = environment.get("packages", {})
    machine = environment.get("machine", {})
    fingerprints = environment.get("data", {})
    return Section("repeat", "Can I repeat it?", {
        "command": command, "experiment": experiment,
        "versions": ", ".join(f"{name} {version}" for name, version in packages.items()),
        "python": environment.get("python", ""),
        "machine": " ".join(str(machine[k]) for k in ("system", "architecture") if k in machine),
        "device": environment.get("device", ""),
        "settings": json.dumps(environment["score"], indent=2) if "score" in environment else "",
        "fingerprints": [(str(name), str(value)) for name, value in fingerprints.items()],
        "tables": [(name, _uri(tables.text(name))) for name in _TABLES
                   if tables.has(name) and len(tables.text(name)) <= _MOST_BYTES],
        "large": [name for name in _TABLES
                  if tables.has(name) and len(tables.text(name)) > _MOST_BYTES],
    })


def _uri(text: str) -> str:
    import base64

    return "data:text/csv;base64," + base64.b64encode(text.encode("utf-8")).decode()
