"""Would the tests notice? Faults are planted in a sample of places; the mirroring tests must fail.

A fault is one changed operator, comparison, constant or condition. Each is run against the tests
that mirror its file, in a copy of the package and in a fork of one process that has imported the
libraries: a mutation tester that starts a process for each fault spends most of its time on
imports. Results are added to the table as they come, and what is in the table is not run again.

    python benchmarks/mutation.py                    # the sample that CONTRIBUTING reports
    python benchmarks/mutation.py --room similarity --sample 300 --seed 1
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import csv
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("similarity", "ranking", "adaptation", "evaluation", "workflows")

#: Further tests of a file, beside the test file of its own name.
ELSEWHERE = {
    "similarity/compiled.py": ["similarity/test_signature.py", "similarity/test_kmeans.py",
                               "similarity/test_emd_batch.py"],
    "ranking/explanation.py": ["ranking/test_ranking.py", "workflows/test_score.py"],
    "ranking/measure.py": ["ranking/test_ranking.py", "ranking/test_data_measures.py"],
    "ranking/measures.py": ["ranking/test_ranking.py", "workflows/test_score.py"],
    "ranking/domain.py": ["ranking/test_data_measures.py", "ranking/test_choices.py",
                          "ranking/test_detector_measures.py"],
    "ranking/paper.py": ["ranking/test_ranking.py", "golden/test_published_tables.py"],
    "ranking/scoring.py": ["workflows/test_score.py"],
    "evaluation/learning_curve.py": ["evaluation/test_comparison.py"],
    "workflows/appearance.py": ["workflows/test_score.py"],
    "workflows/arms.py": ["workflows/test_growth.py", "workflows/test_opened_images.py"],
    "workflows/auto.py": ["workflows/test_detector_arms.py"],
    "workflows/classifier_arms.py": ["workflows/test_classify.py"],
    "workflows/domains.py": ["workflows/test_classify.py"],
    "workflows/export_model.py": ["workflows/test_operating.py"],
    "workflows/inspect.py": ["workflows/test_operating.py"],
    "workflows/parts.py": ["workflows/test_check.py"],
    "workflows/probe_arm.py": ["workflows/test_classify.py"],
}
#: The workflows of a run of detectors are tested together.
RUN = ["workflows/test_opened_images.py", "workflows/test_transfer.py"]

COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr, ast.And: ast.Or, ast.Or: ast.And,
}


@dataclass(frozen=True)
class Fault:
    """A changed expression, by its file and the number of its place in it."""

    file: str
    number: int
    line: int
    before: str
    after: str


def changed(node: ast.AST) -> ast.AST | None:
    """Give a faulty copy of an expression, or None where it has no such place."""
    new = copy.deepcopy(node)
    if isinstance(new, ast.Compare) and type(new.ops[0]) in COMPARISONS:
        new.ops[0] = COMPARISONS[type(new.ops[0])]()
    elif isinstance(new, ast.BinOp | ast.BoolOp) and type(new.op) in OPERATORS:
        new.op = OPERATORS[type(new.op)]()
    elif isinstance(new, ast.UnaryOp) and isinstance(new.op, ast.Not | ast.USub):
        return new.operand
    elif isinstance(new, ast.Constant) and isinstance(new.value, bool):
        new.value = not new.value
    elif isinstance(new, ast.Constant) and isinstance(new.value, int | float):
        new.value += 1
    elif isinstance(new, ast.IfExp):
        new.body, new.orelse = new.orelse, new.body
    else:
        return None
    return new


def places(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Where faults fit: the parent, its field, the position there, and the expression.

    Annotations are left out, and what words alone are made of.
    """
    skipped: set[int] = set()
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list") or isinstance(
                value, ast.JoinedStr
            ):
                parts = value if isinstance(value, list) else [value]
                skipped |= {id(inner) for part in parts if isinstance(part, ast.AST)
                            for inner in ast.walk(part)}
    for parent in ast.walk(tree):
        if id(parent) in skipped or isinstance(parent, ast.JoinedStr):
            continue
        for name, value in ast.iter_fields(parent):
            for position, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.expr) and id(child) not in skipped and changed(child):
                    yield parent, name, position, child


def faults_of(file: str) -> list[Fault]:
    """List every fault that fits into a file of the package."""
    tree = ast.parse((ROOT / "aoi_tl" / file).read_text(encoding="utf-8"))
    return [
        Fault(file, number, getattr(node, "lineno", 0), ast.unparse(node),
              ast.unparse(changed(node) or node))
        for number, (_, _, _, node) in enumerate(places(tree))
    ]


def with_fault(fault: Fault) -> str:
    """Give the source of a file with the fault in it."""
    tree = ast.parse((ROOT / "aoi_tl" / fault.file).read_text(encoding="utf-8"))
    parent, name, position, node = list(places(tree))[fault.number]
    new = changed(node)
    if position is None:
        setattr(parent, name, new)
    else:
        getattr(parent, name)[position] = new
    return ast.unparse(ast.fix_missing_locations(tree))


def tests_of(file: str) -> list[str]:
    """Name the test files that mirror a file of the package."""
    room, name = file.split("/")
    mirror = f"{room}/test_{name}"
    own = [mirror] if (ROOT / "tests" / mirror).is_file() else []
    return [*own, *ELSEWHERE.get(file, [] if own else RUN)]


def run_tests(place: Path, tests: list[str], seconds: int) -> int:
    """Run tests in a fork; give pytest's exit status, or -1 for one that was given up."""
    process = os.fork()
    if process == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        os.chdir(place)
        sys.path.insert(0, str(place))
        import pytest

        words = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header"]
        status = 70
        with contextlib.suppress(BaseException):
            status = int(pytest.main([*words, *(f"tests/{test}" for test in tests)]))
        os._exit(status)
    give_up = time.monotonic() + 60 * seconds  # of a child of its own that hangs
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else -1
        if time.monotonic() > give_up:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.05)


def sample_of(room: str, number: int, seed: int) -> list[Fault]:
    """Draw faults from a room; its larger files get more."""
    every = [fault for file in sorted((ROOT / "aoi_tl" / room).glob("*.py"))
             for fault in faults_of(f"{room}/{file.name}")]
    sample = random.Random(f"{room} {seed}").sample(every, min(number, len(every)))
    print(f"{room}: {len(sample)} of {len(every)} places", flush=True)
    return sorted(sample, key=lambda fault: (fault.file, fault.line, fault.number))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--room", action="append", choices=ROOMS)
    parser.add_argument("--sample", type=int, default=40, help="faults in each room")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, default=ROOT / "benchmarks/results/mutation.csv")
    arguments = parser.parse_args()
    rooms = arguments.room or list(ROOMS)
    sample = [f for room in rooms for f in sample_of(room, arguments.sample, arguments.seed)]
    os.environ["OMP_NUM_THREADS"] = "1"
    known: dict[tuple[str, str, str, str], str] = {}
    if arguments.table.is_file():
        with arguments.table.open(newline="", encoding="utf-8") as file:
            known = {(r["file"], r["line"], r["before"], r["after"]): r["result"]
                     for r in csv.DictReader(file)}
    import cv2, hypothesis, numpy, pandas, scipy.optimize, scipy.stats, sklearn.cluster  # noqa: E401, F401, I001
    import ot, pydantic, pytest, torch, torchmetrics, ultralytics.nn.tasks  # noqa: E401, F401

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in ("aoi_tl", "tests"):
            shutil.copytree(ROOT / name, place / name)
        for name in ("pyproject.toml", "CONTRIBUTING.md", "README.md"):
            shutil.copy(ROOT / name, place / name)
        whole: set[tuple[str, ...]] = set()
        arguments.table.parent.mkdir(exist_ok=True)
        for fault in sample:
            key = (fault.file, str(fault.line), fault.before, fault.after)
            if key in known:
                continue
            tests = tests_of(fault.file)
            if tuple(tests) not in whole:
                if run_tests(place, tests, 600):
                    raise SystemExit(f"expected tests that pass without a fault, got {tests}")
                whole.add(tuple(tests))
            target = place / "aoi_tl" / fault.file
            target.write_text(with_fault(fault), encoding="utf-8")
            status = run_tests(place, tests, 120)
            shutil.copy2(ROOT / "aoi_tl" / fault.file, target)
            known[key] = "survived" if status == 0 else "killed"
            write(arguments.table, known)
            print(f"{known[key]}: {fault.file}:{fault.line}: {fault.before} -> {fault.after}",
                  flush=True)
    drawn = [(f.file, str(f.line), f.before, f.after) for f in sample]
    for room in rooms:
        found = Counter(known[key] for key in drawn if key[0].startswith(room))
        print(f"{room}: {found['killed']} of {found.total()} killed")


def write(table: Path, known: dict[tuple[str, str, str, str], str]) -> None:
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "line", "before", "after", "result"))
        rows.writerows((*key, result) for key, result in sorted(known.items()))


if __name__ == "__main__":
    main()
