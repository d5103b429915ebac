"""Proposing aliases: class names of two datasets that probably mean the same defect."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

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
    table of synonyms in English, Chinese, pinyin, Japanese, Korean, German and Spanish. Words that
    mean something only in one industry count where both datasets know it: two of their names, or
    all, are among its words. Between two that know different ones, a word of every industry joins
    nothing. A name that the target has itself is left alone, and one that fits several of the
    target's is not decided.

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
    ours = _domains_of(target.names)
    for source in sources:
        theirs = _domains_of(source.names)
        tables = [*(_domain_tables()[name] for name in sorted(ours & theirs)), _table()]
        apart = bool(ours) and bool(theirs) and not ours & theirs
        for name in source.names:
            is_generic = apart and _meaning(name) in _generic()
            if name in target.names or name in proposals or is_generic:
                continue
            found = {
                "spelling": [own for own in target.names if _spelling(own) == _spelling(name)],
                "plural": [own for own in target.names if _singular(own) == _singular(name)],
                "synonym": [own for own in target.names
                            if any(table.same(own, name) for table in tables)],
                "near synonym": [own for own in target.names
                                 if any(table.near(own, name) for table in tables)],
            }
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


@dataclass(frozen=True, eq=False)
class _Table:
    """Words that mean the same (``groups``: the first of each line), and those that may."""

    groups: dict[str, str]
    loose: dict[str, frozenset[int]]

    def meaning(self, name: str) -> str:
        """Return the first name of the group of synonyms; the name itself outside all groups."""
        return self.groups.get(_singular(name), _singular(name))

    def same(self, one: str, other: str) -> bool:
        return self.meaning(one) == self.meaning(other)

    def near(self, one: str, other: str) -> bool:
        nowhere: frozenset[int] = frozenset()
        return bool(self.loose.get(self.meaning(one), nowhere)
                    & self.loose.get(self.meaning(other), nowhere))


def _meaning(name: str) -> str:
    return _table().meaning(name)


@cache
def _content() -> dict[str, Any]:
    import yaml

    text = files("aoi_tl.data").joinpath("synonyms.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def _table_of(same: Sequence[Sequence[str]], near: Sequence[Sequence[str]]) -> _Table:
    groups = {_singular(name): _singular(group[0]) for group in same for name in group}
    loose: dict[str, frozenset[int]] = defaultdict(frozenset)
    for number, group in enumerate(near):
        for name in group:
            key = groups.get(_singular(name), _singular(name))
            loose[key] |= {number}
    return _Table(groups, dict(loose))


@cache
def _table() -> _Table:
    content = _content()
    translated = content["other languages"]
    same = [[*group, *translated.get(group[0], ())] for group in content["same"]]
    return _table_of(same, content["near"])


@cache
def _domain_tables() -> dict[str, _Table]:
    return {
        name: _table_of(domain["same"], domain["near"])
        for name, domain in _content()["domains"].items()
    }


@cache
def _generic() -> frozenset[str]:
    return frozenset(map(_meaning, _content()["generic"]))


def _domains_of(names: Sequence[str]) -> set[str]:
    """The industries that class names speak of: two of them, or all, are among its words."""
    found = set()
    for domain, table in _domain_tables().items():
        known = sum(
            _singular(name) in table.groups or _singular(name) in table.loose for name in names
        )
        if known >= min(2, len(names)) > 0:
            found.add(domain)
    return found


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
