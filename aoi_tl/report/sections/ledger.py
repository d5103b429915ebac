"""Section "What moved?": the tensors that each stage copied, module by module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aoi_tl.report.run_tables import RunTables
from aoi_tl.report.section import Section

if TYPE_CHECKING:
    import pandas

#: How an origin in a ledger is drawn.
_CLASSES = {"copied": "copied", "rows copied": "rows", "averaged": "averaged",
            "initialised": "initialised"}


def build(tables: RunTables) -> Section | None:
    """Show a strip of modules for every stage of the first seed.

    Parameters
    ----------
    tables : RunTables

    Returns
    -------
    Section or None
        None where the run trained nothing.
    """
    if not tables.seeds:
        return None
    if tables.kind == "classify":
        return _encoder(tables)
    seed, frozen = tables.seeds[0], _frozen(tables)
    strips: list[dict[str, Any]] = []
    for arm, trained in tables.first_seed.items():
        for stage in _stages(tables, trained.stage):
            ledger = tables.table(f"stages/{stage}/ledger.csv")
            if ledger is None:
                continue
            is_target = stage.endswith("-target")
            strips.append({
                "arm": arm, "stage": stage.removeprefix(f"{trained.stage}-"),
                "modules": _modules(ledger, frozen if is_target else 0),
                "words": _words(ledger),
            })
    if not strips:
        return None
    return Section("ledger", "What moved?", {
        "strips": strips, "seed": seed, "frozen": frozen, "encoder": None,
        "averaged": any(m["origin"] == "averaged" for s in strips for m in s["modules"]),
    })


def _stages(tables: RunTables, begins: str) -> list[str]:
    """Name the stages of an arm in the order of their training: the source's before the target's.
    """
    folders = (tables.path / "stages").iterdir()
    names = [f.name for f in folders if f.is_dir() and f.name.startswith(f"{begins}-")]
    return sorted(names, key=lambda name: (name.endswith("-target"), name))


def _frozen(tables: RunTables) -> int:
    import yaml

    experiment = yaml.safe_load(tables.text("experiment.yaml") or "{}") or {}
    return int((experiment.get("transfer") or {}).get("freeze") or 0)


def _modules(ledger: pandas.DataFrame, frozen: int) -> list[dict[str, Any]]:
    """Give the origin of the tensors of every module."""
    modules, before = [], None
    for number, rows in ledger.groupby("module", sort=True):
        origins = list(dict.fromkeys(rows["origin"].astype(str)))
        origin = _CLASSES.get(origins[0], "mixed") if len(origins) == 1 else "mixed"
        group = str(rows["group"].iloc[0])
        counts = ", ".join(f"{(rows['origin'] == o).sum()} {o}" for o in origins)
        held = int(str(number)) < frozen
        modules.append({
            "origin": origin, "frozen": held, "start": before is not None and group != before,
            "title": f"module {number}, {group}: {counts}" + (", frozen" if held else ""),
        })
        before = group
    return modules


def _words(ledger: pandas.DataFrame) -> str:
    parts = []
    for group in dict.fromkeys(ledger["group"].astype(str)):
        rows = ledger[ledger["group"] == group]
        counts = rows["origin"].value_counts()
        parts.append(f"{group}: " + ", ".join(f"{n} {origin}" for origin, n in counts.items()))
    return "; ".join(parts)


def _encoder(tables: RunTables) -> Section | None:
    found = [
        (arm, tables.json(f"stages/{arm}-s{tables.seeds[0]}/ledger.json")) for arm in tables.arms
    ]
    rows = [
        {"arm": arm, "encoder": ledger["encoder"], "features": ledger["features"],
         "origin": ledger["origin"], "loaded": len(ledger["loaded"]),
         "initialised": len(ledger["initialised"]), "left_out": len(ledger["left_out"])}
        for arm, ledger in found if ledger and "encoder" in ledger
    ]
    if not rows:
        return None
    return Section("ledger", "What moved?", {
        "strips": [], "seed": tables.seeds[0], "frozen": 0, "encoder": rows, "averaged": False,
    })
