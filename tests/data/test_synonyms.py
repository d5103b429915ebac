from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from aoi_tl.data.dataset import Dataset
from aoi_tl.data.labels import load_aliases
from aoi_tl.data.synonyms import Proposal, _singular, format_aliases, propose_aliases, spelt_apart

SEED = Path(__file__).parents[1] / "golden" / "table1_counts.csv"
TABLE = yaml.safe_load(files("aoi_tl.data").joinpath("synonyms.yaml").read_text(encoding="utf-8"))


def dataset(*names: str, name: str = "old") -> Dataset:
    return Dataset(name, Path("data.yaml"), names, ())


def proposed(target: tuple[str, ...], *source: str) -> dict[str, tuple[str, str]]:
    found = propose_aliases(dataset(*target), [dataset(*source)])
    return {p.name: (p.canonical, p.reason) for p in found}


@pytest.mark.parametrize(
    ("own", "other", "reason"),
    [
        ("gas hole", "Gas_Hole", "spelling"),
        ("gas hole", "GasHole", "spelling"),
        ("gas hole", "ＧＡＳ－ｈｏｌｅ", "spelling"),
        ("scratch", "scratches", "plural"),
        ("impurities", "Impurity", "plural"),
        ("fine cracks", "fine-crack", "plural"),
        ("scratch", "划痕", "synonym"),
        ("scratch", "huá hén", "synonym"),
        ("划痕", "HuaHen", "synonym"),
        ("rolled-in_scale", "氧化皮压入", "synonym"),
        ("pitted_surface", "pitting", "synonym"),
        ("blowhole", "pinhole", "near synonym"),
        ("stains", "脏污", "near synonym"),
    ],
)
def test_what_is_proposed(own, other, reason):
    assert proposed((own,), other) == {other: (own, reason)}
    assert proposed((other,), own) == {own: (other, reason)}


@pytest.mark.parametrize(
    ("own", "other"),
    [
        ("crack", "white crack"),
        ("crack", "fine cracks"),
        ("chipping", "plane chipping"),
        ("chamfer", "abnormal chamfer"),
        ("glass", "glas s t"),
        ("bus", "bu"),
        ("pit", "pi"),
    ],
)
def test_what_is_not(own, other):
    assert proposed((own,), other) == {}


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ("Scratch", "scratch",
         "'Scratch' and 'scratch' are two names: `aoi-tl labels` proposes the alias"),
        ("gas hole", "Gas_Hole", "'gas hole' and 'Gas_Hole' are two names"),
        ("gas hole", "gas-hole", "'gas hole' and 'gas-hole' are two names"),
        ("gas hole", "gashole", "'gas hole' and 'gashole' are two names"),
        ("scratch", "scratches", ""), ("scratch", "scratch", ""), ("scratch", "dent", ""),
    ],
)
def test_two_spellings_of_one_name_are_told(ours, theirs, words):
    told = spelt_apart([ours, "stain"], ["stain", theirs])
    assert told.startswith(words)
    assert bool(told) == bool(words)


def test_many_pairs_of_spellings_are_counted():
    told = spelt_apart(["A a", "B b", "C c", "D d", "E e"], ["a_a", "b_b", "c_c", "d_d", "e_e"])
    assert told == ("'A a' and 'a_a', 'B b' and 'b_b', 'C c' and 'c_c' (and 2 more such pairs) are "
                    "two names each: `aoi-tl labels` proposes the alias")


def test_names_the_target_has_are_left_alone():
    assert proposed(("scratch", "scratches"), "scratches", "scratch") == {}


def test_what_fits_twice_is_not_decided():
    assert proposed(("pinhole", "gas hole"), "porosity") == {}
    assert proposed(("Scratch", "SCRATCH"), "scratch") == {}


def test_a_better_reason_wins():
    assert proposed(("stain", "dirt"), "dirty") == {"dirty": ("dirt", "synonym")}


def test_each_name_once_with_its_first_source():
    found = propose_aliases(
        dataset("scratch"), [dataset("划痕", name="a"), dataset("划痕", "hua hen", name="b")]
    )
    assert [(p.name, p.source) for p in found] == [("划痕", "a"), ("hua hen", "b")]


def test_no_word_has_two_meanings():
    keys = [_singular(name) for group in TABLE["same"] for name in group]
    assert len(keys) == len(set(keys))


def test_the_seeds_twenty_classes_are_in_the_table_in_three_scripts():
    with open(SEED, encoding="utf-8") as file:
        classes = [row["category"] for row in csv.DictReader(file)]
    assert len(classes) == 20
    for name, group in zip(classes, TABLE["same"], strict=False):
        assert _singular(name) == _singular(group[0])
        chinese = [word for word in group if not word.isascii()]
        assert chinese
        for word in group[1:]:
            assert proposed((name,), word) == {word: (name, "synonym")}
        # Each Chinese word comes with its pinyin, a syllable for a character.
        latin = [len(word.split()) for word in group if word.isascii()]
        assert all(latin.count(len(word)) for word in chinese)


def test_the_file_is_a_map_of_aliases(tmp_path):
    odd = ("no", "a: b", "# x", "划痕", "1", "- y", "it's", "null")
    proposals = [Proposal(name, 'yes: "scratch"', "line\n1", "synonym") for name in odd]
    file = tmp_path / "aliases.yaml"
    file.write_text(format_aliases(proposals), encoding="utf-8")
    assert load_aliases(file) == dict.fromkeys(odd, 'yes: "scratch"')
    file.write_text(format_aliases([]), encoding="utf-8")
    assert load_aliases(file) == {}


def test_real_sets_find_each_other(shared):
    from aoi_tl.data.yolo.read import load_dataset

    sets = {
        name: load_dataset(shared / "data" / f"{name}.yaml")
        for name in ("aluminum/aluminum", "neu-det/neu-det", "magnetic-tile/mt")
    }
    found = propose_aliases(sets.pop("aluminum/aluminum"), list(sets.values()))
    assert {(p.name, p.canonical, p.reason) for p in found} == {
        ("scratches", "scratch", "plural"),
        ("blowhole", "pinhole", "near synonym"),
    }


DEEP_PCB = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
HRI_PCB = ("Missing_hole", "Mouse_bite", "Open_circuit", "Short", "Spur", "Spurious_copper")
NEU = ("crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches")
GC10 = ("1_chongkong", "2_hanfeng", "3_yueyawan", "punching_hole", "oil_spot", "yiwu")


def test_two_public_sets_of_bare_boards_find_each_other():
    assert proposed(DEEP_PCB, *HRI_PCB) == {
        "Missing_hole": ("pin-hole", "near synonym"), "Mouse_bite": ("mousebite", "spelling"),
        "Open_circuit": ("open", "synonym"), "Short": ("short", "spelling"),
        "Spur": ("spur", "spelling"), "Spurious_copper": ("copper", "synonym"),
    }


@pytest.mark.parametrize(
    ("target", "source", "expected"),
    [
        (DEEP_PCB, ("开路", "短路", "毛刺"), {"开路": "open", "短路": "short", "毛刺": "spur"}),
        (("burr", "crack"), ("毛刺", "裂纹"), {"毛刺": "burr", "裂纹": "crack"}),
        (NEU, GC10, {"yiwu": "inclusion"}),
        (("Center", "Donut", "Edge-Loc", "Edge-Ring", "Loc", "Near-full", "Random", "Scratch"),
         ("C", "D", "EL", "ER", "L", "NF", "R", "S"),
         {"C": "Center", "D": "Donut", "EL": "Edge-Loc", "ER": "Edge-Ring", "L": "Loc",
          "NF": "Near-full", "R": "Random", "S": "Scratch"}),
        (("D00", "D10", "D20", "D40"), ("Schlagloch", "alligator crack", "Längsriss"),
         {"Schlagloch": "D40", "alligator crack": "D20", "Längsriss": "D00"}),
        (("live_knot", "dead_knot", "resin"), ("活节", "死节", "marrow"),
         {"活节": "live_knot", "死节": "dead_knot"}),
        (("scratch", "dent"), ("Kratzer", "打痕", "스크래치", "abolladura"),
         {"Kratzer": "scratch", "打痕": "dent", "스크래치": "scratch", "abolladura": "dent"}),
    ],
)
def test_words_of_an_industry_are_known_where_both_sets_speak_of_it(target, source, expected):
    found = {name: own for name, (own, _) in proposed(target, *source).items()}
    assert found == expected


def test_words_of_one_industry_mean_nothing_elsewhere():
    assert proposed(("open", "closed"), "open circuit", "door") == {}
    assert proposed(("C", "bolt"), "center", "nut") == {}


def test_a_generic_word_joins_nothing_across_industries():
    boards, fabric = (*DEEP_PCB, "stain"), ("结头", "毛粒", "Stains", "Spot", "dirt")
    assert proposed(boards, *fabric) == {}
    assert proposed(("stain", "crack"), "Stains")["Stains"] == ("stain", "plural")


def test_every_industry_is_traceable_and_none_of_its_words_has_two_meanings():
    assert len(TABLE["domains"]) >= 9
    for domain in TABLE["domains"].values():
        assert len(domain["sets"]) >= 2
        keys = [key for group in domain["same"] for key in {*map(_singular, group)}]
        assert len(keys) == len(set(keys))
    translated = [_singular(w) for words in TABLE["other languages"].values() for w in words]
    known = {_singular(name) for group in TABLE["same"] for name in group}
    assert len(translated) == len(set(translated))
    assert not known & set(translated)
    assert set(TABLE["other languages"]) <= {group[0] for group in TABLE["same"]}
