from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aoi_tl.caches import dataset_cache, signature_cache
from aoi_tl.caches.signature_cache import SignatureCache
from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.images import write_image
from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.data.yolo.write import write_dataset
from aoi_tl.engine import LocalEngine
from aoi_tl.errors import AoiTlError, DataError, ExperimentError
from aoi_tl.ranking.ranking import Ranking
from aoi_tl.ranking.scoring import score_matrix, score_sources
from aoi_tl.similarity.emd import earth_movers_distance
from aoi_tl.similarity.gini import gini
from aoi_tl.similarity.signature import dataset_signature, image_signature
from aoi_tl.workflows import score as score_room
from aoi_tl.workflows.score import run_score, run_score_matrix
from tests.drawn import draw_dataset

KEYS = [
    "name", "emd", "gini", "shared_classes", "discrepancy", "undefined", "rank", "images",
    "instances",
]  # fmt: skip


@pytest.fixture
def cache(tmp_path):
    with SignatureCache(tmp_path / "cache", LocalEngine(1)) as cache:
        yield cache


def make(folder, name, grey, counts, splits=("train", "val"), noise=5):
    """A dataset with one image per split; ``counts`` boxes of each class in the first."""
    rng = np.random.default_rng(grey)
    samples = []
    (folder / name).mkdir(parents=True, exist_ok=True)
    ids = np.repeat(np.arange(len(counts)), list(counts.values()))
    for split in splits:
        image = folder / name / f"{name}-{split}.png"
        write_image(image, rng.normal(grey, noise, (30, 30)).clip(0, 255).astype(np.uint8))
        boxes = np.full((len(ids), 4), 0.5)
        samples.append(Sample(image, split, ids, boxes))
        ids = ids[:0]
    return Dataset(name, folder / name / "data.yaml", tuple(counts), tuple(samples))


@pytest.fixture
def target(tmp_path):
    return make(tmp_path, "target", 100, {"dent": 3, "crack": 2, "stain": 1, "hole": 0})


def test_every_number_is_that_of_its_measure(tmp_path, target, cache):
    source = make(tmp_path, "source", 150, {"crack": 8, "hole": 5, "stain": 2, "dent": 0})
    (row,) = score_sources(target, [source], n_clusters=4, cache=cache).sources

    from aoi_tl.data.images import read_image

    def signature(dataset):
        each = [image_signature(read_image(s.image), 4) for s in dataset.samples]
        return dataset_signature(each, 4)

    assert row.shared_classes == ("crack", "stain")  # hole has no instance in the target
    assert row.emd == pytest.approx(
        earth_movers_distance(signature(source), signature(target), "exact").distance, rel=1e-6
    )
    assert row.gini == pytest.approx(gini([8, 2]))
    assert row.discrepancy == pytest.approx(row.emd * row.gini / 2)
    assert (row.rank, row.images, row.instances) == (1, 2, 15)
    assert row.solver in ("slsqp", "exact")
    assert row.gap <= 1e-6 * row.emd


def test_ranking_and_pick(tmp_path, target, cache):
    sources = [
        make(tmp_path, "far", 240, {"dent": 90, "crack": 9}),
        make(tmp_path, "near", 104, {"dent": 9, "crack": 4}),
        make(tmp_path, "middle", 130, {"dent": 20, "crack": 9}),
        make(tmp_path, "middle2", 140, {"dent": 8, "crack": 4}),
        make(tmp_path, "alone", 100, {"dent": 500, "else": 3}),
        make(tmp_path, "strange", 100, {"else": 3}),
    ]
    ranking = score_sources(target, sources, cache=cache)
    assert [(row.name, row.rank) for row in ranking.sources][:4] == [
        ("near", 1), ("middle", 2), ("middle2", 3), ("far", 4),
    ]  # fmt: skip
    last = {row.name: row for row in ranking.sources[4:]}
    assert "one class" in last["alone"].undefined
    assert "no class" in last["strange"].undefined
    assert {row.rank for row in last.values()} == {None}
    assert ranking.selected == "middle"


def test_balanced_source_says_that_the_formula_is_blind(tmp_path, target, cache):
    source = make(tmp_path, "even", 200, {"dent": 5, "crack": 5})
    (row,) = score_sources(target, [source], cache=cache).sources
    assert (row.discrepancy, row.undefined, row.rank) == (0.0, None, 1)
    assert "blind" in row.note


def test_json_is_the_contract(tmp_path, target, cache):
    sources = [
        make(tmp_path, "gut-ä", 104, {"dent": 9, "crack": 4}),
        make(tmp_path, "alone", 100, {"dent": 5}),
    ]
    ranking = score_sources(target, sources, n_clusters=3, cache=cache)
    content = json.loads(ranking.to_json())
    assert list(content) == ["target", "n_clusters", "method", "sources", "selected"]
    assert (content["target"], content["n_clusters"], content["method"]) == ("target", 3, "paper")
    assert content["selected"] == "gut-ä"
    for row in content["sources"]:
        assert list(row)[: len(KEYS)] == KEYS
        assert isinstance(row["emd"], float)
        assert isinstance(row["shared_classes"], list)
    assert content["sources"][1]["discrepancy"] is None
    assert content["sources"][1]["rank"] is None
    table = ranking.to_frame()
    assert list(table["name"]) == ["gut-ä", "alone"]
    assert list(table.columns)[: len(KEYS)] == KEYS
    rows = list(csv.DictReader(table.to_csv(index=False).splitlines()))
    assert [row["rank"] for row in rows] == ["1", ""]
    assert rows[0]["shared_classes"] == "dent;crack"


def test_test_split_of_the_target_is_never_opened(tmp_path, cache):
    target = make(tmp_path, "t", 90, {"dent": 3, "crack": 1}, ("train", "val", "test"))
    secret = next(s.image for s in target.samples if s.split == "test")
    source = make(tmp_path, "s", 120, {"dent": 7, "crack": 2, "stain": 4})
    before = score_sources(target, [source], cache=cache)
    secret.unlink()
    assert score_sources(target, [source], cache=cache) == before
    assert before.notes == ()
    hidden = Dataset(  # a class that only the test split holds is not the target's
        "t", target.path, (*target.names, "stain"),
        (*target.samples[:2], Sample(secret, "test", np.array([2]), np.full((1, 4), 0.5))),
    )  # fmt: skip
    (row,) = score_sources(hidden, [source], cache=cache).sources
    assert row.shared_classes == ("dent", "crack")


def test_all_splits_of_a_source_count(tmp_path, target, cache):
    source = make(tmp_path, "s", 120, {"dent": 7, "crack": 2}, ("train", "test"))
    (row,) = score_sources(target, [source], cache=cache).sources
    assert row.images == 2
    (fewer,) = score_sources(target, [source.split("train")], cache=cache).sources
    assert fewer.images == 1
    assert fewer.emd != row.emd


def test_target_and_repeated_sources_are_passed_over(tmp_path, target, cache):
    source = make(tmp_path, "s", 120, {"dent": 7, "crack": 2})
    ranking = score_sources(target, [target, source, source], cache=cache)
    assert [row.name for row in ranking.sources] == ["s"]
    with pytest.raises(DataError, match="besides target"):
        score_sources(target, [target], cache=cache)


def test_unreadable_images_are_counted_and_skipped(tmp_path, target, cache):
    source = make(tmp_path, "s", 120, {"dent": 7, "crack": 2}, ("train", "val", "test"))
    source.samples[1].image.write_bytes(b"no image")
    target.samples[1].image.write_bytes(b"")
    ranking = score_sources(target, [source], cache=cache)
    assert "1 unreadable" in ranking.sources[0].note
    assert ranking.notes == ("target: 1 unreadable images left out",)
    for sample in source.samples:
        sample.image.write_bytes(b"no image")
    with pytest.raises(DataError, match="expected readable images, got 3"):
        score_sources(target, [source], cache=cache)
    for sample in target.samples:
        sample.image.write_bytes(b"no image")
    with pytest.raises(DataError, match="expected readable images"):
        score_sources(target, [source], cache=cache)


def test_one_image_is_enough(tmp_path, cache):
    target = make(tmp_path, "t", 90, {"dent": 3, "crack": 1}, ("train",))
    source = make(tmp_path, "s", 120, {"dent": 7, "crack": 2}, ("train",))
    assert score_sources(target, [source], cache=cache).selected == "s"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_clusters": 0}, "n_clusters"),
        ({"n_clusters": 2.5}, "n_clusters"),
        ({"method": "magic"}, "method"),
        ({"solver": "magic"}, "solver"),
        ({"sample": 0}, "sample"),
    ],
)
def test_settings_out_of_range(tmp_path, target, cache, settings, message):
    source = make(tmp_path, "s", 120, {"dent": 7, "crack": 2})
    with pytest.raises(ExperimentError, match=f"expected {message}"):
        score_sources(target, [source], cache=cache, **settings)


def test_unusable_datasets(tmp_path, target, cache):
    source = make(tmp_path, "s", 120, {"dent": 7, "crack": 2})
    with pytest.raises(DataError, match="expected boxes in the target"):
        score_sources(make(tmp_path, "t", 90, {"dent": 0}), [source], cache=cache)
    with pytest.raises(DataError, match="expected images to score"):
        score_sources(target, [make(tmp_path, "n", 90, {"dent": 1}, ())], cache=cache)
    with pytest.raises(DataError, match="'s' twice"):
        score_sources(target, [source, make(tmp_path / "b", "s", 9, {"dent": 7})], cache=cache)


def test_sample_looks_at_a_few_images_evenly(tmp_path, target, cache):
    images = []
    for i in range(10):
        images.append(tmp_path / f"{i}.png")
        write_image(images[-1], np.full((5, 5), 20 * i, dtype=np.uint8))
    samples = [Sample(p, "train", np.array([0, 0, 1]), np.full((3, 4), 0.5)) for p in images]
    source = Dataset("s", tmp_path / "s.yaml", ("dent", "crack"), tuple(samples))
    done = []
    ranking = score_sources(
        target, [source], 5, sample=5, cache=cache, progress=lambda *at: done.append(at)
    )
    assert done[-1] == (7, 7)
    assert ranking.sources[0].images == 10
    for path in images[1::2]:
        path.unlink()  # every second image was not looked at
    again = score_sources(target, [source], 5, sample=5, cache=cache)
    assert again == ranking


def test_automatic_number_of_clusters_is_one_for_all(tmp_path, cache):
    grounds = [(60, 0.0), (190, 0.0)]
    datasets = [make(tmp_path, f"d{g}", g, {"dent": 5, "crack": 1}, noise=n) for g, n in grounds]
    two = np.repeat([40, 200], 450).astype(np.uint8).reshape(30, 30)
    for dataset in datasets:
        for sample in dataset.samples:
            write_image(sample.image, two)
    assert score_sources(datasets[0], datasets[1:], cache=cache).n_clusters == 2


def test_matrix_agrees_with_single_scores(tmp_path, cache):
    datasets = [
        make(tmp_path, f"d{grey}", grey, {"dent": 5 + grey % 7, "crack": 3}, ("train", "test"))
        for grey in (60, 110, 190)
    ]
    matrix = score_matrix(datasets, n_clusters=4, cache=cache)
    assert [ranking.target for ranking in matrix] == ["d60", "d110", "d190"]
    for dataset, ranking in zip(datasets, matrix, strict=True):
        assert isinstance(ranking, Ranking)
        assert ranking == score_sources(dataset, datasets, n_clusters=4, cache=cache)
    with pytest.raises(DataError, match="at least two"):
        score_matrix(datasets[:1], cache=cache)


def test_equal_input_gives_equal_bytes(tmp_path, target, cache):
    source = make(tmp_path, "s", 120, {"dent": 7, "crack": 2})
    first = score_sources(target, [source], cache=cache).to_json()
    with SignatureCache(tmp_path / "another") as fresh:
        assert score_sources(target, [source], cache=fresh).to_json() == first


@pytest.fixture
def on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("AOI_TL_CACHE", str(tmp_path / "cache"))
    made = [
        make(tmp_path / "raw", "t", 100, {"dent": 3, "crack": 2}),
        make(tmp_path / "raw", "a", 120, {"dent": 9, "crack": 2}),
        make(tmp_path / "raw", "b", 180, {"dent": 9, "Riss": 4}),
    ]
    return [write_dataset(dataset, tmp_path / "data" / dataset.name) for dataset in made]


def test_run_folder(tmp_path, on_disk):
    aliases = tmp_path / "aliases.yaml"
    aliases.write_text("crack: [Riss]\n", encoding="utf-8")
    told = []
    rows = run_score(
        on_disk[0], [*on_disk, on_disk[1]], tmp_path / "run",
        {"n_clusters": "3", "sample": "all"}, aliases, progress=lambda *at: told.append(at),
    )  # fmt: skip
    assert [row["name"] for row in rows["sources"]] == ["a", "b"]
    assert rows["sources"][1]["shared_classes"] == ["dent", "crack"]
    assert rows["n_clusters"] == 3
    assert json.loads((tmp_path / "run" / "scores.json").read_text(encoding="utf-8")) == rows
    with (tmp_path / "run" / "scores.csv").open(newline="", encoding="utf-8") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["a", "b"]
    assert (tmp_path / "run" / "done").exists()
    environment = json.loads((tmp_path / "run" / "environment.json").read_text(encoding="utf-8"))
    assert set(environment["data"]) == {"t", "a", "b"}
    assert {what for what, *_ in told} >= {"signatures", "keeping sample pictures"}
    assert told[-1][1] == told[-1][2]
    with pytest.raises(AoiTlError, match="resume"):
        run_score(on_disk[0], on_disk, tmp_path / "run", {"n_clusters": "3"}, aliases)
    again = run_score(on_disk[0], on_disk, tmp_path / "run", {"n_clusters": 3}, aliases, True)
    assert again == rows


def test_run_folder_of_a_matrix(tmp_path, on_disk):
    found = run_score_matrix(on_disk, tmp_path / "run", {"n_clusters": "auto"})
    assert [row["target"] for row in found] == ["t", "a", "b"]
    assert json.loads((tmp_path / "run" / "scores.json").read_text(encoding="utf-8")) == found
    with (tmp_path / "run" / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pairs = {(row["target"], row["name"]) for row in rows}
    assert pairs == {(t, s) for t in "tab" for s in "tab" if t != s}
    assert [row["target"] for row in rows] == [t for t in "tab" for _ in range(2)]


def test_settings_of_a_run_are_checked(tmp_path, on_disk):
    with pytest.raises(ExperimentError, match="clusters"):
        run_score(on_disk[0], on_disk[1:], tmp_path / "run", {"n_clusters": "many"})
    assert not (tmp_path / "run").exists()


def test_scoring_loads_neither_torch_nor_ultralytics(tmp_path, on_disk):
    for solver in ("slsqp", "exact"):
        code = (
            "import sys\n"
            "from pathlib import Path\n"
            "from aoi_tl.workflows.score import run_score\n"
            "assert 'pandas' not in sys.modules\n"
            f"run_score({str(on_disk[0])!r}, {[str(p) for p in on_disk]!r}, "
            f"{str(tmp_path / solver)!r}, {{'solver': {solver!r}}})\n"
            "assert not {'torch', 'ultralytics'} & set(sys.modules)\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.fixture
def old(monkeypatch):
    """Files count as old, however young they are."""
    for module in (dataset_cache, signature_cache):
        monkeypatch.setattr(module, "SETTLED_NS", -(10**18))


def test_a_second_run_reads_nothing_and_says_the_same(
    tmp_path, on_disk, old, monkeypatch
):
    run_score(on_disk[0], on_disk[1:], tmp_path / "first")

    def refuse(*_):
        raise AssertionError("read once more")

    with monkeypatch.context() as second:
        second.setattr(dataset_cache, "DatasetReader", refuse)
        second.setattr(signature_cache, "content_hash", refuse)
        second.setattr(signature_cache, "read_image", refuse)
        run_score(on_disk[0], on_disk[1:], tmp_path / "second")
        run_score(on_disk[0], on_disk[1:], tmp_path / "first", resume=True)  # the same fingerprint
        with pytest.raises(AssertionError, match="once more"):
            run_score(on_disk[0], on_disk[1:], tmp_path / "third", {"n_clusters": 2})
    monkeypatch.setenv("AOI_TL_CACHE", str(tmp_path / "empty"))
    run_score(on_disk[0], on_disk[1:], tmp_path / "fresh")
    for name in ("scores.json", "scores.csv", "notes.json", "fingerprint.json", "environment.json"):
        said = (tmp_path / "fresh" / name).read_bytes()
        assert (tmp_path / "second" / name).read_bytes() == said, name
        assert (tmp_path / "first" / name).read_bytes() == said, name


def test_a_changed_image_or_label_changes_the_scores(tmp_path, on_disk, old):
    def source(out):
        return run_score(on_disk[0], on_disk[1:2], tmp_path / out, {"n_clusters": 4})["sources"][0]

    first = source("first")
    image = next((on_disk[1].parent / "images").rglob("*.png"))
    image.unlink()  # a link to the original
    write_image(image, np.full((30, 30), 7, dtype=np.uint8))
    changed = source("changed")
    assert changed["emd"] != first["emd"]
    label = next(f for f in (on_disk[1].parent / "labels").rglob("*.txt") if f.stat().st_size)
    label.write_text(label.read_text() * 2)
    assert source("marked")["instances"] > changed["instances"]


def test_a_summary_is_measured_like_its_dataset(tmp_path):
    with SignatureCache(tmp_path / "cache", LocalEngine(1)) as cache:
        files = [
            draw_dataset(tmp_path / name, {"Dent": 3, "crack": 1}, size=48, seed=seed)
            for seed, name in enumerate(("t", "a", "b"))
        ]
        found = [
            score_sources(datasets[0], datasets[1:], n_clusters=3, cache=cache, method="box")
            for datasets in ([load_dataset(f, {"Dent": "dent"}) for f in files],
                             dataset_cache.read_summaries(files, {"Dent": "dent"}, cache))
        ]
    assert found[0] == found[1]
    assert all(row.measures["box"].value is not None for row in found[0].sources)


def test_scores_hold_measures_gain_interval_and_a_sentence_for_each_source(tmp_path, monkeypatch):
    monkeypatch.setenv("AOI_TL_CACHE", str(tmp_path / "cache"))
    files = [draw_dataset(tmp_path / name, {"dent": 3, "crack": 2}, size=48, seed=seed)
             for seed, name in enumerate(("t", "a", "b"))]
    scores = run_score(files[0], files[1:], tmp_path / "run", {"method": "auto"})
    assert json.loads((tmp_path / "run" / "scores.json").read_text(encoding="utf-8")) == scores
    for place, row in enumerate(scores["sources"], start=1):
        assert list(row)[: len(KEYS)] == KEYS  # the fields of before, in their order
        assert row["rank"] == place
        for measured in row["measures"].values():
            assert list(measured) == ["value", "direction", "interval", "undefined"]
        low, high = row["measures"]["box"]["interval"]
        assert low <= high
        assert row["interval"][0] < row["estimated_gain"] < row["interval"][1]
        assert "all of your 2 classes" in row["explanation"]
        assert "5 boxes" in row["explanation"] or "boxes in" in row["explanation"]
    assert [row["tied"] for row in scores["sources"]] == [False, True]  # within noise of the first
    assert {"none: fine-tune COCO", "all together"} <= {c["name"] for c in scores["choices"]}


@pytest.mark.parametrize(("method", "budget", "words"), [
    ("frechet", None, "expected a COCO checkpoint for frechet"),
    ("auto", 5.0, "expected a COCO checkpoint for --budget"),
])
def test_a_checkpoint_is_wanted_where_it_is_used(method, budget, words):
    with pytest.raises(ExperimentError, match=words):
        score_room._weights(method, budget, None)
    assert score_room._weights("paper", None, None) is None
