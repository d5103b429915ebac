"""Proposing aliases: class names of two datasets that probably mean the same defect."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from aoi_tl.data.dataset import Dataset

#: The reason of a proposal that is a matter of judgement.
DOUBTFUL = "near synonym"
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})


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
    table of synonyms in English, Chinese, pinyin, Japanese, Korean, German and Spanish. Words of
    one industry count where both datasets speak of it: two of their names are words of it alone, or
    one is and the others belong there too. Between two that speak of different ones, a word of
    every industry joins nothing. A name that the target has itself is left alone, and one that fits
    several of the target's is not decided.

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
        tables = [_domain_table(name) for name in sorted(ours & theirs)] or [_general_table()]
        apart = bool(ours) and bool(theirs) and not ours & theirs
        names = [name for name in target.names if not (apart and _is_generic(name))]
        for name in source.names:
            if name in target.names or name in proposals or (apart and _is_generic(name)):
                continue
            found = {
                "spelling": [own for own in names if _spelling(own) == _spelling(name)],
                "plural": [own for own in names if _singular(own) == _singular(name)],
                "synonym": _first(
                    [own for own in names if table.same(own, name)] for table in tables),
                DOUBTFUL: _first(
                    [own for own in names if table.near(own, name)] for table in tables),
            }
            reason = next((reason for reason, fitting in found.items() if fitting), None)
            if reason is not None and len(found[reason]) == 1:
                proposals[name] = Proposal(name, found[reason][0], source.name, reason)
    return tuple(proposals.values())


def spelt_apart(target: Iterable[str], source: Iterable[str]) -> str:
    """Say which class names differ only in case, blanks, separators or accents.

    Parameters
    ----------
    target, source : iterable of str
        Class names of two datasets; a name that both have is shared and left alone.

    Returns
    -------
    str
        Empty where there is none.

    Examples
    --------
    >>> spelt_apart(["Scratch", "dent"], ["scratch", "dent"])
    "'Scratch' and 'scratch' are two names: `aoi-tl labels` proposes the alias"
    """
    ours, theirs = sorted(set(target)), sorted(set(source))
    pairs = [
        f"{own!r} and {name!r}" for own in ours if own not in theirs for name in theirs
        if name not in ours and _spelling(own) == _spelling(name)
    ]
    if not pairs:
        return ""
    more = f" (and {len(pairs) - 3} more such pairs)" if len(pairs) > 3 else ""
    each = " are two names" if len(pairs) == 1 else f"{more} are two names each"
    return f"{', '.join(pairs[:3])}{each}: `aoi-tl labels` proposes the alias"


def format_aliases(proposals: Sequence[Proposal]) -> str:
    """Write proposals as a YAML file for ``load_aliases``, to be edited first.

    Parameters
    ----------
    proposals : sequence of Proposal
        From ``propose_aliases``.

    Returns
    -------
    str
        ``canonical:`` with a list of names, each with its source and reason as a comment. Doubtful
        ones are comments as a whole: they count only once somebody takes the # away.

    Examples
    --------
    >>> certain = Proposal("Scratches", "scratch", "steel", "plural")
    >>> doubtful = Proposal("pit", "dent", "steel", "near synonym")
    >>> print(format_aliases([certain, doubtful]), end="")
    # The target's class: names that stand for it. Remove what does not mean the same.
    scratch:
      - Scratches  # steel: plural
    # Doubtful: take away the # in front of what means the same.
    # dent:
    #   - pit  # steel: near synonym
    """
    lines = ["# The target's class: names that stand for it. Remove what does not mean the same."]
    lines += _entries([one for one in proposals if one.reason != DOUBTFUL])
    if doubtful := _entries([one for one in proposals if one.reason == DOUBTFUL]):
        lines.append("# Doubtful: take away the # in front of what means the same.")
        lines += [f"# {line}" for line in doubtful]
    return "\n".join(lines) + "\n"


def _entries(proposals: Sequence[Proposal]) -> list[str]:
    by_canonical: dict[str, list[Proposal]] = defaultdict(list)
    for proposal in proposals:
        by_canonical[proposal.canonical].append(proposal)
    lines = []
    for canonical, members in by_canonical.items():
        lines.append(f"{_quoted(canonical)}:")
        for member in members:
            comment = " ".join(f"{member.source}: {member.reason}".split())
            lines.append(f"  - {_quoted(member.name)}  # {comment}")
    return lines


def _first(several: Iterable[list[str]]) -> list[str]:
    return next(filter(None, several), [])


def _spelling(name: str) -> str:
    return "".join(_words(name))


@cache
def _singular(name: str) -> str:
    return "".join(map(_without_plural, _words(name)))


@dataclass(frozen=True, eq=False)
class _Table:
    """Words that mean the same (``groups``: the first of each entry), and those that may."""

    groups: dict[str, str]
    loose: dict[str, frozenset[int]]

    def meaning(self, name: str) -> str:
        """Return the first name of the group of synonyms; the name itself outside all groups."""
        for key in _keys(name):
            if key in self.groups:
                return self.groups[key]
        return _singular(name)

    def same(self, one: str, other: str) -> bool:
        return self.meaning(one) == self.meaning(other)

    def near(self, one: str, other: str) -> bool:
        nowhere: frozenset[int] = frozenset()
        return bool(self.loose.get(self.meaning(one), nowhere)
                    & self.loose.get(self.meaning(other), nowhere))


@cache
def _content() -> dict[str, Any]:
    import yaml

    text = files("aoi_tl.data").joinpath("synonyms.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


@cache
def _groups(domain: str | None) -> dict[str, str]:
    """The words of an industry, or those of all, by the first of their entry."""
    content = _content()
    entries = content["general"]["same"] if domain is None else content["domains"][domain]["same"]
    return {
        key: _singular(entry["en"][0])
        for entry in entries for words in entry.values() for word in words
        for key in (_singular(word), _singular(word.translate(_UMLAUTS)))
    }


def _table(groups: dict[str, str], near: Sequence[Sequence[str]]) -> _Table:
    loose: dict[str, frozenset[int]] = defaultdict(frozenset)
    for number, names in enumerate(near):
        for name in names:
            loose[groups.get(_singular(name), _singular(name))] |= {number}
    return _Table(groups, dict(loose))


@cache
def _general_table() -> _Table:
    return _table(_groups(None), _content()["general"]["near"])


@cache
def _domain_table(domain: str) -> _Table:
    """The words of all industries and of one, whose own meaning of a word counts."""
    content = _content()
    return _table(
        _groups(None) | _groups(domain),
        [*content["general"]["near"], *content["domains"][domain]["near"]],
    )


@cache
def _generic() -> frozenset[str]:
    return frozenset(map(_general_table().meaning, _content()["generic"]))


def _is_generic(name: str) -> bool:
    return _general_table().meaning(name) in _generic()


def _domains_of(names: Sequence[str]) -> set[str]:
    """The industries that class names speak of.

    Two of them are words of this industry alone, or one is and two in three are at home there.
    """
    found = set()
    common = _groups(None).keys() | _generic()
    for domain, content in _content()["domains"].items():
        table, words = _domain_table(domain), _groups(domain)
        home = {*map(table.meaning, content["also"])}
        own = [any(key in words and key not in common for key in _keys(name)) for name in names]
        known = [table.meaning(name) in home or any(key in words for key in _keys(name))
                 for name in names]
        if sum(own) > 1 or (any(own) and 3 * sum(known) >= 2 * len(names)):
            found.add(domain)
    return found


def _keys(name: str) -> tuple[str, ...]:
    """How a name may be looked up: as it is, and without a number in front (``1_chongkong``)."""
    bare = re.sub(r"^\d+[\s_.-]+(?=[^\W\d])", "", name)
    return (_singular(name), _singular(bare))


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
