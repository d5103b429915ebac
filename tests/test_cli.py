from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.drawn import draw_dataset, tree_hash

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]


def aoi_tl(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from aoi_tl.cli import main; main()", *map(str, words)],
        capture_output=True, text=True, cwd=cwd, env={**os.environ, "COLUMNS": "200"}, check=False,
    )


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    for number, name in enumerate(("new", "near", "far")):
        draw_dataset(folder / name, {"dent": 3 + number, "stain": 1}, seed=number,
                     ground=100 + 20 * number)
    return folder


def every(shelf: Path) -> list[Path]:
    return [shelf / name / "data.yaml" for name in ("new", "near", "far")]


@pytest.mark.parametrize("command", [
    "", "score", "transfer", "run", "classify", "demo", "index", "labels", "check", "split",
    "import", "export", "inspect", "export-model", "report",
])
def test_help_has_an_example(command: str) -> None:
    found = aoi_tl(*([command] if command else []), "--help")
    assert found.returncode == 0
    assert "Example" in found.stdout or not command


def test_score_ranks_writes_and_reads_only(shelf: Path, tmp_path: Path) -> None:
    before = tree_hash(shelf)
    out = tmp_path / "score"
    found = aoi_tl("score", *every(shelf), every(shelf)[0], "--out", out, "--json",
                   tmp_path / "s.json")
    assert found.returncode == 0, found.stderr
    scores = json.loads((out / "scores.json").read_text())
    assert json.loads((tmp_path / "s.json").read_text()) == scores
    assert {row["name"] for row in scores["sources"]} == {"near", "far"}
    assert scores["selected"] in found.stdout
    assert (out / "scores.csv").is_file()
    assert (out / "done").is_file()
    assert tree_hash(shelf) == before


def test_a_matrix_scores_each_against_each(shelf: Path, tmp_path: Path) -> None:
    found = aoi_tl("score", "--matrix", *every(shelf), "--out", tmp_path / "m", "--clusters", 3)
    assert found.returncode == 0, found.stderr
    scores = json.loads((tmp_path / "m" / "scores.json").read_text())
    assert [row["target"] for row in scores] == ["new", "near", "far"]
    for quantity in ("discrepancy", "emd", "gini"):
        assert (tmp_path / "m" / f"{quantity}.csv").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["score", "nothing.yaml", "also.yaml"], "nothing.yaml"),
        (["score", "{new}"], "at least one source"),
        (["score", "{new}", "{near}", "--clusters", "few"], "'auto'"),
        (["score", "{new}", "{near}", "--solver", "slsq"], "slsqp"),
        (["run", "nothing.yaml"], "nothing.yaml"),
        (["run", "{new}"], "data.yaml, line"),
        (["transfer", "{new}", "{near}", "--set", "train.epoch=3"], "epochs"),
        (["transfer", "{new}", "{near}", "--set", "arm=3"], "did you mean 'arms'"),
        (["transfer", "{new}", "{near}", "--set", "train.learning_rate=3"], "did you mean 'lr0'"),
        (["transfer", "{new}", "{near}", "--set", "seeds=3"],
         "write seeds: [0, 1, 2] for three, [3] for seed 3"),
        (["transfer", "{new}", "{near}", "--set", "batch_size=3"], "unknown key 'batch_size'"),
        (["classify", "{new}", "--set", "seeds=1"], "write seeds: [1] for seed 1"),
        (["transfer", "{new}", "{near}", "--weights", "nothing/at/all.pt"], "all.pt"),
        (["import", "cocoa", "{new}", "--out", "o"], "'cocoa'"),
        (["export", "pascal", "{new}", "--out", "o"], "'pascal'"),
        (["score", "{new}", "--index", "nothing.index"], "nothing.index"),
        (["classify", "{new}"], "data.yaml"),
        (["report", "nothing"], "run folder"),
        (["score", "{new}", "{near}", "--engine", "rey"], "local, ray"),
        (["score", "{new}", "{near}", "--method", "proxy"], "--budget 10m"),
        (["score", "{new}", "{near}", "--budget", "ten"], "such as 90s, 10m or 1h"),
        (["score", "{new}", "{near}", "--budget", "9m"], "name one with --weights"),
        (["score", "{new}", "{near}", "--budget", "0", "--method", "knn"], "--budget 0, got knn"),
        (["score", "{new}", "{near}", "--budget", "9m", "--method", "box"], "got box"),
        (["score", "--matrix", "{new}", "{near}", "--budget", "9m"], "one target at a time"),
        (["transfer", "{new}", "{near}", "--set", "score.method=proxy"], "aoi-tl score"),
        (["score", "{new}", "{near}", "--address", "10.0.0.1:6379"], "--engine ray"),
        (["transfer", "{new}", "{near}", "--engine", "rey"], "'ray'"),
        (["run", "{new}", "{new}"], "different names"),
        (["report", "{shelf}"], "arms.csv"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    shelf: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    places = {"new": every(shelf)[0], "near": every(shelf)[1], "shelf": shelf}
    found = aoi_tl(*[word.format(**places) for word in words], cwd=tmp_path)
    assert found.returncode == 2
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1
    assert "Traceback" not in found.stderr
    assert not list(tmp_path.rglob("stages"))


def test_an_index_ranks_as_scoring_does(shelf: Path, tmp_path: Path) -> None:
    file = tmp_path / "shelf.index"
    made = aoi_tl("index", file, *every(shelf), "--clusters", 3)
    assert made.returncode == 0, made.stderr
    assert "3 datasets" in made.stdout
    found = aoi_tl("score", every(shelf)[0], "--index", file, "--out", tmp_path / "i")
    assert found.returncode == 0, found.stderr
    direct = aoi_tl("score", *every(shelf), "--clusters", 3, "--out", tmp_path / "d")
    assert direct.returncode == 0, direct.stderr
    ranked, expected = (
        [(row["name"], round(row["discrepancy"], 9)) for row in
         json.loads((tmp_path / run / "scores.json").read_text())["sources"]]
        for run in ("i", "d")
    )
    assert ranked == expected


def test_check_tells_planted_faults_and_copies(shelf: Path, tmp_path: Path) -> None:
    shutil.copytree(shelf, tmp_path / "shelf")
    near = tmp_path / "shelf" / "near"
    (near / "labels" / "train" / "train0.txt").write_text("9 0.5 0.5 0.1 0.1\n")
    shutil.copy(near / "images" / "test" / "test1.png", near / "images" / "train" / "copy.png")
    before = tree_hash(tmp_path / "shelf")
    found = aoi_tl("check", *every(tmp_path / "shelf"), "--out", tmp_path / "out")
    assert found.returncode == 1, found.stderr
    findings = json.loads((tmp_path / "out" / "near" / "check.json").read_text())["findings"]
    assert {"label row", "splits share a copy"} <= {finding["kind"] for finding in findings}
    assert "splits share a copy" in found.stdout
    assert "new: 15 images, 12 boxes, nothing found" in found.stdout
    assert tree_hash(tmp_path / "shelf") == before


def test_check_ends_with_what_it_found(shelf: Path, tmp_path: Path) -> None:
    shutil.copytree(shelf / "new", tmp_path / "new")
    file, label = tmp_path / "new" / "data.yaml", tmp_path / "new" / "labels/train/train0.txt"

    def status(*words: str) -> int:
        return aoi_tl("check", file, "--out", tmp_path / "out", *words).returncode

    assert [status(), status("--fail-on", "warning")] == [0, 0]
    label.unlink()  # a warning: an image without a label file
    assert [status(), status("--fail-on", "warning")] == [0, 1]
    label.write_text("9 0.5 0.5 0.1 0.1\n")
    assert [status(), status("--fail-on", "never"), status("--fail-on", "all")] == [1, 0, 2]


@pytest.mark.parametrize("shares", [["0.5,0.1,0.4"], ["0.5", "0.1", "0.4"]])
def test_shares_are_given_as_their_default_is_printed(
    shelf: Path, tmp_path: Path, shares: list[str]
) -> None:
    for number, place in enumerate(([every(shelf)[1]], [])):
        rest = [] if place else [every(shelf)[1]]
        out = tmp_path / str(number)
        found = aoi_tl("split", *place, "--shares", *shares, *rest, "--out", out)
        assert found.returncode == 0, found.stderr
        counts = [len(list((out / "images" / split).iterdir())) for split in
                  ("train", "val", "test")]
        assert sum(counts) == 18
        assert counts[1] < min(counts[0], counts[2])


@pytest.mark.parametrize("shares", ["0.5,0.5", "1,2,x", "0.5,,0.5", "nan,0.5,0.5", "2,2,2"])
def test_shares_that_are_none_are_refused(shelf: Path, tmp_path: Path, shares: str) -> None:
    found = aoi_tl("split", every(shelf)[0], "--out", tmp_path / "o", "--shares", shares)
    assert found.returncode == 2
    assert len(found.stderr.splitlines()) == 1, found.stderr
    assert not (tmp_path / "o").exists()


def test_split_writes_a_new_dataset_of_links(shelf: Path, tmp_path: Path) -> None:
    found = aoi_tl("split", every(shelf)[0], "--out", tmp_path / "new")
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "new" / "data.yaml").is_file()


def test_labels_are_proposed(shelf: Path, tmp_path: Path) -> None:
    other = draw_dataset(tmp_path / "other", {"Dents": 1, "burr": 1})
    found = aoi_tl("labels", every(shelf)[0], other)
    assert found.returncode == 0, found.stderr
    assert "Dents" in found.stdout
    assert "dent" in found.stdout


def test_two_spellings_of_a_class_are_told_where_sharing_fails(shelf: Path, tmp_path: Path) -> None:
    near = draw_dataset(tmp_path / "near", {"Dent": 1, "burr": 1})
    found = aoi_tl("score", every(shelf)[0], near, "--method", "paper", "--clusters", 3,
                   "--out", tmp_path / "out")
    assert found.returncode == 0, found.stderr
    [row] = json.loads((tmp_path / "out" / "scores.json").read_text())["sources"]
    assert row["undefined"] == "no class is shared"
    assert row["note"] == "'dent' and 'Dent' are two names: `aoi-tl labels` proposes the alias"
    assert "'Dent' are two names" in " ".join(found.stdout.split())


def test_out_and_in_again_keeps_every_box(shelf: Path, tmp_path: Path) -> None:
    out = aoi_tl("export", "coco", every(shelf)[0], "--out", tmp_path / "coco")
    assert out.returncode == 0, out.stderr
    back = aoi_tl("import", "coco", tmp_path / "coco", "--out", tmp_path / "back")
    assert back.returncode == 0, back.stderr
    assert "15 images, 12 boxes" in back.stdout


def lose_an_image(folder: Path) -> None:
    (folder / "images" / "train" / "train0.png").unlink()
    (folder / "list.txt").write_text(
        "".join(f"./images/train/train{n}.png\n" for n in range(5))
    )
    text = (folder / "data.yaml").read_text()
    (folder / "data.yaml").write_text(text.replace("train: images/train", "train: list.txt"))


def truncate_a_jpeg(folder: Path) -> None:
    import cv2

    image = cv2.imread(str(folder / "images" / "train" / "train1.png"))
    whole = cv2.imencode(".jpg", image)[1].tobytes()
    (folder / "images" / "train" / "train1.png").unlink()
    (folder / "images" / "train" / "train1.jpg").write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(lose_an_image, ["1 images left out", "train0.png"]),
     (truncate_a_jpeg, ["1 images left out", "train1.jpg"])],
)
def test_what_can_go_on_goes_on_with_a_counted_note(
    shelf: Path, tmp_path: Path, spoil: Callable[[Path], None], words: list[str]
) -> None:
    shutil.copytree(shelf, tmp_path / "shelf")
    spoil(tmp_path / "shelf" / "near")
    before = tree_hash(tmp_path / "shelf")
    found = aoi_tl("score", *every(tmp_path / "shelf"), "--out", tmp_path / "out")
    assert found.returncode == 0, found.stderr
    assert found.stderr.startswith("note: near: ")
    for word in words:
        assert word in found.stderr
    assert tree_hash(tmp_path / "shelf") == before


def test_a_source_with_one_image_is_scored(shelf: Path, tmp_path: Path) -> None:
    one = draw_dataset(tmp_path / "one", {"dent": 1}, splits=("train",), empty=0)
    found = aoi_tl("score", every(shelf)[0], one, "--method", "paper", "--out",
                   tmp_path / "out")
    assert found.returncode == 0, found.stderr
    assert "only one class is shared" in found.stdout
    assert "No source is picked" in found.stdout


def test_a_target_without_boxes_is_refused(shelf: Path, tmp_path: Path) -> None:
    bare = draw_dataset(tmp_path / "bare", {"dent": 0}, empty=3)
    found = aoi_tl("score", bare, every(shelf)[0], "--out", tmp_path / "out")
    assert found.returncode == 2
    assert "expected boxes" in found.stderr
    assert not (tmp_path / "out" / "done").exists()


def test_a_target_without_labelled_training_images_is_refused(shelf: Path, tmp_path: Path) -> None:
    new = draw_dataset(tmp_path / "new", {"dent": 2, "stain": 1})
    for file in (tmp_path / "new" / "labels" / "train").iterdir():
        file.write_text("")
    for method in ("auto", "zero-shot", "box"):
        found = aoi_tl("score", new, every(shelf)[1], "--method", method, "--out",
                       tmp_path / method)
        assert found.returncode == 2
        assert len(found.stderr.strip().splitlines()) == 1
        assert f"expected labelled images in the train split of new for {method}" in found.stderr
    found = aoi_tl("score", new, every(shelf)[1], "--method", "paper", "--out", tmp_path / "paper")
    assert found.returncode == 0, found.stderr  # as the line says


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    from tests.tiny_detector import tiny_detector

    return tiny_detector(tmp_path / "tiny.pt", ["burr", "chip"])


def test_a_budget_too_small_for_one_proxy_is_one_line(
    shelf: Path, tmp_path: Path, tiny: Path
) -> None:
    found = aoi_tl("score", *every(shelf), "--budget", "1s", "--weights", tiny, "--out",
                   tmp_path / "out")
    assert found.returncode == 2
    [line] = found.stderr.strip().splitlines()
    assert line.startswith("aoi-tl: expected --budget of at least ")
    assert "got 1 s; give more, or --budget 0" in line


def test_a_detector_without_a_shared_class_says_so_in_one_line(
    shelf: Path, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aoi_tl.caches.signature_cache import SignatureCache
    from aoi_tl.data.yolo.read import load_dataset
    from aoi_tl.workflows.kept_detectors import content_of

    monkeypatch.setenv("AOI_TL_CACHE", str(tmp_path / "cache"))
    other = draw_dataset(tmp_path / "other", {"burr": 3, "chip": 1})
    kept = tmp_path / "cache" / "detectors" / "0"
    kept.mkdir(parents=True)
    with SignatureCache() as cache:
        contents = [content_of(load_dataset(other), cache)]
    (kept / "detector.json").write_text(json.dumps({"contents": contents}))
    shutil.copy(tiny, kept / "best.pt")
    found = aoi_tl("score", every(shelf)[0], other, "--method", "zero-shot", "--out",
                   tmp_path / "out")
    assert found.returncode == 0, found.stderr
    [line] = [line for line in found.stdout.splitlines() if "knows none" in line]
    assert "its detector knows none of your classes (it has burr, chip)" in line
    assert "No source is picked" in found.stdout
    [row] = json.loads((tmp_path / "out" / "scores.json").read_text())["sources"]
    assert row["measures"]["zero-shot"]["undefined"].endswith("or rank by class-blind")
    again = aoi_tl("score", every(shelf)[0], other, "--method", "class-blind", "--out",
                   tmp_path / "blind")
    assert "Picked source: other" in again.stdout  # as the line says


def test_a_budget_of_nothing_reads_data_alone(shelf: Path, tmp_path: Path) -> None:
    found = aoi_tl("score", *every(shelf), "--budget", "0", "--out", tmp_path / "out")
    assert found.returncode == 0, found.stderr
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["method"] == "auto"
    for row in scores["sources"]:
        assert set(row["measures"]) == {"paper", "emd", "size", "overlap", "box"}
        assert row["estimated_gain"] is not None


def test_the_experiments_of_this_repository_are_valid() -> None:
    from aoi_tl.experiment.detection import Experiment
    from aoi_tl.experiment.settings import read_settings

    files = [file for file in (REPOSITORY / "experiments").glob("*.yaml")
             if "target:" in file.read_text() and "sources:" in file.read_text()
             and file.stem != "demo-benchmark"]
    assert {"demo", "dc-1", "jy-381-4", "nj-101", "xh-4", "mt-line-a", "mt-line-b", "mt-line-c",
            "aluminum"} <= {file.stem for file in files}
    for file in files:
        assert read_settings(file, Experiment).name == file.stem
