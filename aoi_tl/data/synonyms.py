"""Proposing aliases: class names of two datasets that mean the same."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from aoi_tl.data.dataset import Dataset


@dataclass(frozen=True)
class Proposal:
    """One proposed alias: ``name`` of the dataset ``source`` stands for the target's ``canonical``.

    ``reason`` is "spelling", "plural", "synonym" or "near synonym"; only the last is a judgement.
    """

    name: str
    canonical: str
    source: str
    reason: str


def propose_aliases(target: Dataset, sources: Sequence[Dataset]) -> tuple[Proposal, ...]:
    """Find source classes that the target has under another name.

    Names are compared without case, separators, accents and tones; then without plural; then by a
    table of synonyms in English, Chinese and pinyin. A name that the target has itself is left
    alone, and one that fits several of the target's is not decided.

    Parameters
    ----------
    target : Dataset
        Its names are the canonical ones.
    sources : sequence of Dataset
        Their names are looked up.

    Returns
    -------
    tuple of Proposal
        In the order of the sources and their names, each name once.

    Examples
    --------
    >>> from pathlib import Path
    >>> target = Dataset("new", Path("new.yaml"), ("scratch", "gas hole", "dirt"), ())
    >>> steel = Dataset("steel", Path("old.yaml"), ("Scratches", "气孔", "dirt", "weld"), ())
    >>> for found in propose_aliases(target, [steel]):
    ...     print(found.name, "->", found.canonical, f"({found.reason})")
    Scratches -> scratch (plural)
    气孔 -> gas hole (synonym)
    """
    proposals: dict[str, Proposal] = {}
    tiers = (("spelling", _spelling), ("plural", _singular), ("synonym", _meaning))
    for source in sources:
        for name in source.names:
            if name in target.names or name in proposals:
                continue
            found = {
                reason: [own for own in target.names if key(own) == key(name)]
                for reason, key in tiers
            }
            found["near synonym"] = [own for own in target.names if _near(own) & _near(name)]
            reason = next((reason for reason, fitting in found.items() if fitting), None)
            if reason is not None and len(found[reason]) == 1:
                proposals[name] = Proposal(name, found[reason][0], source.name, reason)
    return tuple(proposals.values())


def format_aliases(proposals: Sequence[Proposal]) -> str:
    """Write proposals as a YAML file that ``load_aliases`` reads, to be edited first.

    Parameters
    ----------
    proposals : sequence of Proposal
        From ``propose_aliases``.

    Returns
    -------
    str
        ``canonical:`` with a list of names, each with its source and reason as a comment.

    Examples
    --------
    >>> print(format_aliases([Proposal("Scratches", "scratch", "steel", "plural")]), end="")
    # The target's class: names that stand for it. Remove what does not mean the same.
    scratch:
      - Scratches  # steel: plural
    """
    by_canonical: dict[str, list[Proposal]] = defaultdict(list)
    for proposal in proposals:
        by_canonical[proposal.canonical].append(proposal)
    lines = ["# The target's class: names that stand for it. Remove what does not mean the same."]
    for canonical, members in by_canonical.items():
        lines.append(f"{_quoted(canonical)}:")
        for member in members:
            comment = " ".join(f"{member.source}: {member.reason}".split())
            lines.append(f"  - {_quoted(member.name)}  # {comment}")
    return "\n".join(lines) + "\n"


def _spelling(name: str) -> str:
    return "".join(_words(name))


def _singular(name: str) -> str:
    return "".join(map(_without_plural, _words(name)))


def _meaning(name: str) -> str:
    """Return the first name of the group of synonyms; the name itself outside all groups."""
    groups, _ = _table()
    return groups.get(_singular(name), _singular(name))


def _near(name: str) -> frozenset[int]:
    """Return the numbers of the loose groups that a name is in."""
    _, loose = _table()
    return loose.get(_meaning(name), frozenset())


@cache
def _table() -> tuple[dict[str, str], dict[str, frozenset[int]]]:
    import yaml

    text = files("aoi_tl.data").joinpath("synonyms.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    groups = {_singular(name): _singular(group[0]) for group in content["same"] for name in group}
    loose: dict[str, frozenset[int]] = defaultdict(frozenset)
    for number, group in enumerate(content["near"]):
        for name in group:
            key = groups.get(_singular(name), _singular(name))
            loose[key] |= {number}
    return groups, dict(loose)


def _words(name: str) -> list[str]:
    # Wide forms become narrow ones; accents and the tones of pinyin go.
    plain = "".join(
        c
        for c in unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name))
        if not unicodedata.combining(c)
    )
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain)
    return re.findall(r"\w+", apart.replace("_", " ").casefold())


def _without_plural(word: str) -> str:
    if not word.isascii() or len(word) < 4:
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _quoted(name: str) -> str:
    import yaml

    # A lone scalar is written with the mark of a document's end.
    text = yaml.safe_dump(name, allow_unicode=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")
