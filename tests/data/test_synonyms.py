from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from aoi_tl.data.dataset import Dataset
from aoi_tl.data.labels import load_aliases
from aoi_tl.data.synonyms import (
    DOUBTFUL,
    Proposal,
    _domains_of,
    _keys,
    _singular,
    format_aliases,
    propose_aliases,
    spelt_apart,
)

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


LANGUAGES = ("en", "zh", "pinyin", "ja", "ko", "de", "es")


def words(entry: dict[str, list[str]]) -> list[str]:
    return [word for several in entry.values() for word in several]


@pytest.mark.parametrize("part", ["general", *TABLE["domains"]])
def test_no_word_has_two_meanings_and_every_entry_all_languages(part):
    entries = (TABLE["general"] if part == "general" else TABLE["domains"][part])["same"]
    keys = [key for entry in entries for key in {*map(_singular, words(entry))}]
    assert [key for key in keys if keys.count(key) > 1] == []
    for entry in entries:
        assert [language for language in LANGUAGES if language not in entry] == []
        assert set(entry) <= {*LANGUAGES, "code"}
        assert all(len(entry[language]) for language in LANGUAGES if language != "pinyin"), entry
        assert not [word for word in entry["zh"] if word.isascii()]
        syllables = [len(word.split()) for word in entry["pinyin"]]
        assert {len(word) for word in entry["zh"]} >= set(syllables)


def test_the_seeds_twenty_classes_are_in_the_table_in_three_scripts():
    with open(SEED, encoding="utf-8") as file:
        classes = [row["category"] for row in csv.DictReader(file)]
    assert len(classes) == 20
    for name, group in zip(classes, TABLE["general"]["same"], strict=False):
        assert _singular(name) == _singular(group["en"][0])
        assert group["zh"]
        for word in words(group)[1:]:
            assert proposed((name,), word) == {word: (name, "synonym")}
        # Each Chinese word comes with its pinyin, a syllable for a character.
        latin = [len(word.split()) for word in group["pinyin"]]
        assert all(latin.count(len(word)) for word in group["zh"])


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
GC10 = ("1_chongkong", "2_hanfeng", "3_yueyawan", "4_shuiban", "5_youban", "6_siban", "7_yiwu",
        "8_yahen", "9_zhehen", "10_yaozhed")


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
        (NEU, GC10, {"7_yiwu": "inclusion", "8_yahen": "pitted_surface"}),
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


CLASSES = {
    one["name"]: (domain, tuple(one["classes"]))
    for domain, content in TABLE["domains"].items() for one in content["sets"]
}
#: Sets whose names are all words of every industry.
PLAIN = {"Main bearing surface defects", "BSData (ball screws)", "Aluminum-defect"}


@pytest.mark.parametrize("domain", TABLE["domains"])
def test_every_industry_is_traceable_to_two_public_sets(domain):
    content = TABLE["domains"][domain]
    assert len({one["origin"] for one in content["sets"]}) == len(content["sets"]) >= 2
    known = {key for one in content["sets"] for name in one["classes"] for key in _keys(name)}
    untraced = [entry["en"][0] for entry in content["same"]
                if not known & {*map(_singular, words(entry))}]
    assert untraced == []
    general = {_singular(word) for entry in TABLE["general"]["same"] for word in words(entry)}
    own = {_singular(word) for entry in content["same"] for word in words(entry)}
    assert {*map(_singular, content["also"])} <= general
    loose = {_singular(word) for group in content["near"] for word in group}
    assert loose <= general | own | {"duanlu"}


@pytest.mark.parametrize("name", sorted(set(CLASSES) - PLAIN))
def test_public_sets_are_recognised_by_their_class_names(name):
    domain, classes = CLASSES[name]
    assert domain in _domains_of(classes)


def test_there_are_eighteen_industries():
    assert list(TABLE["domains"]) == [
        "bare PCB", "SMT and solder", "steel strip", "aluminium profile", "casting", "welding",
        "rail", "glass and display", "textile", "wood", "leather", "paper", "ceramic", "PV cells",
        "wafers", "batteries", "bearings and gears", "roads and concrete"]


@pytest.mark.parametrize(
    ("target", "source", "certain", "doubtful"),
    [
        ("DeepPCB", "HRIPCB (PKU-Market-PCB)",
         {"mouse_bite": "mousebite", "open_circuit": "open", "spurious_copper": "copper"},
         {"missing_hole": "pin-hole"}),
        ("Steel tube weld defects", "RIAWELC", {"CR": "crack", "cracks": "crack"},
         {"lack of penetration": "unfused", "LP": "unfused", "PO": "air-hole",
          "porosity": "air-hole"}),
        ("Railway Track Surface Faults", "Railway Defect",
         {"crack": "cracks", "flaking": "flakings", "spalling": "spallings", "squat": "squats"},
         {}),
        ("SSGD", "MSD", {"Scratch": "scratch"}, {}),
        (("D00", "D10", "D20", "D40"), "dacl10k", {"ACrack": "D20"}, {}),
        ("MVTec AD, leather", "Leather defects (Moganam, Seelan 2020)",
         {"folding marks": "fold"}, {"pinhole": "poke"}),
        ("PVEL-AD", "PV-Multi-Defect", {},
         {"broken": "fragment", "no_electricity": "short_circuit"}),
        ("NEU-DET", "X-SDD", {"slag_inclusion": "inclusion", "surface_scratch": "scratches"},
         {"oxide_scale_of_plate_system": "rolled-in_scale", "red_iron": "rolled-in_scale",
          "oxide_scale_of_temperature_system": "rolled-in_scale"}),
        ("Aluminum-defect", "Tianchi aluminium profile 2018", {}, {}),
        ("DeepPCB", "Tianchi fabric 2019", {}, {}),
        ("MVTec AD, wood", "VSB wood surface defects", {},
         {"Knot_missing": "hole", "Blue_Stain": "color"}),
        ("WM-811K", "NEU-DET", {"scratches": "Scratch"}, {}),
        ("Tianchi ceramic tile 2021", "MVTec AD, tile", {}, {}),
    ],
)
def test_public_sets_of_one_industry_find_each_other(target, source, certain, doubtful):
    ours = CLASSES[target][1] if isinstance(target, str) else target
    found = proposed(ours, *CLASSES[source][1])
    sure = {name: own for name, (own, reason) in found.items() if reason != DOUBTFUL}
    unsure = {name: own for name, (own, reason) in found.items() if reason == DOUBTFUL}
    assert (sure, unsure) == (certain, doubtful)


def test_doubtful_proposals_do_nothing_until_somebody_decides(tmp_path):
    found = propose_aliases(dataset(*DEEP_PCB), [dataset(*HRI_PCB, name="HRI")])
    text = format_aliases(found)
    file = tmp_path / "aliases.yaml"
    file.write_text(text, encoding="utf-8")
    assert "Missing_hole" not in load_aliases(file)
    assert "# pin-hole:\n#   - Missing_hole  # HRI: near synonym\n" in text
    file.write_text(text.replace("# pin-hole", "pin-hole").replace("#   -", "  -"), "utf-8")
    assert load_aliases(file)["Missing_hole"] == "pin-hole"
    file.write_text(format_aliases([one for one in found if one.reason == DOUBTFUL]), "utf-8")
    assert load_aliases(file) == {}


@pytest.mark.parametrize("word", TABLE["generic"])
def test_no_generic_word_joins_two_industries(word):
    firsts = list(dict(reversed(CLASSES.values())).values())
    tried = 0
    for classes, others in zip(firsts, [*firsts[5:], *firsts[:5]], strict=True):
        ours, theirs = (*classes, word), (*others, f"{word}s", word.upper())
        here, there = _domains_of(ours), _domains_of(theirs)
        if here and there and not here & there:
            tried += 1
            found = proposed(ours, *theirs)
            assert not {f"{word}s", word.upper()} & set(found)
            assert word not in {own for own, _ in found.values()}
    assert tried >= 10


@pytest.mark.parametrize(("written", "own"), [
    ("Laengsriss", "longitudinal crack"), ("LÄNGSRISS", "longitudinal crack"),
    ("12_Querriss", "transverse crack"), ("纵向裂缝", "longitudinal crack"),
])
def test_umlauts_and_numbers_in_front_of_names(written, own):
    roads = ("longitudinal crack", "transverse crack", "pothole")
    assert proposed(roads, written, "pothole")[written] == (own, "synonym")
