"""Settings files: YAML in, a frozen and validated object out.

A fault in a file is reported with its line, the expected value, the given value, and the nearest
valid name.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, PrivateAttr, ValidationError

from aoi_tl.errors import ExperimentError
from aoi_tl.files.plain_yaml import MAX_BYTES, YamlFault, parse_plain
from aoi_tl.files.untrusted import read_regular_file

Keys = tuple[str | int, ...]
# However deep or long a value is, as much of it is shown as a line takes.
_repr = Repr()
_repr.maxstring = _repr.maxother = 100
_repr.maxlist = 20
shown = _repr.repr


class Settings(BaseModel):
    """A frozen group of settings that refuses unknown keys.

    The string below a key says in Markdown what it means; the docs' reference is made of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


def as_tuple(value: object) -> object:
    """Let a single value stand for a list of one."""
    return [value] if isinstance(value, str | int) and not isinstance(value, bool) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]


class SettingsFile(Settings):
    """A file of settings, with the line of each setting."""

    #: The command that reads such a file. A file may hold a part for each of several commands.
    command: ClassVar[str] = ""

    _path: Path | None = PrivateAttr(default=None)
    _lines: dict[Keys, int] = PrivateAttr(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of what is described: the file's stem."""
        return self._path.stem if self._path else "experiment"

    @property
    def folder(self) -> Path | None:
        """The folder that the file lies in; ``None`` for settings made in Python."""
        return self._path.parent if self._path else None

    def where(self, *keys: str | int) -> str:
        """Give the position of a setting: ``file.yaml, line 3, train.epochs``."""
        return _where(self._path, self._lines, keys)


#: Commands that have a part in a file for several.
PARTS = ("run", "classify")

AnySettings = TypeVar("AnySettings", bound=Settings)
AnyFile = TypeVar("AnyFile", bound=SettingsFile)


def read_settings(
    path: str | Path,
    schema: type[AnyFile],
    overrides: Sequence[str] = (),
) -> AnyFile:
    """Read a settings file.

    Parameters
    ----------
    path : str or Path
        The YAML file. Where it has no keys but the names of commands, ``run`` and ``classify``, the
        part of the schema's command is read.
    schema : type
        The subclass of ``SettingsFile`` to read it as.
    overrides : sequence of str
        ``"train.epochs=3"`` and the like, applied over the file.

    Returns
    -------
    SettingsFile
        Frozen and validated; its paths are still as the file has them.

    Raises
    ------
    ExperimentError
        With the file, the line, what was expected, what came and the cure.
    """
    path = Path(path)
    settings, lines = _read_yaml(path)
    if settings and set(settings) <= set(PARTS):
        settings, lines = _take_part(settings, lines, schema.command, path)
    for override in overrides:
        apply_override(settings, override)
    return validate(settings, schema, path, lines)


def _take_part(
    settings: dict[str, Any], lines: Mapping[Keys, int], command: str, path: Path
) -> tuple[dict[str, Any], dict[Keys, int]]:
    """Take the part of one command out of a file for several; lines stay those of the file."""
    part = settings.get(command)
    if not isinstance(part, dict):
        raise ExperimentError(
            f"{path}: expected a part {command!r} with further keys, got "
            f"{', '.join(settings) if command not in settings else _kind(part)}; add it, or name "
            "the file for that command"
            if command else
            f"{path}: expected settings, got the parts {', '.join(settings)} of an experiment; "
            "name another file"
        )
    return part, {keys[1:]: line for keys, line in lines.items()
                  if keys[:1] == (command,) and len(keys) > 1}


def validate(
    settings: Mapping[str, Any],
    schema: type[AnySettings],
    path: Path | None = None,
    lines: Mapping[Keys, int] | None = None,
) -> AnySettings:
    """Convert a mapping to settings; errors read as in ``read_settings``.

    Parameters
    ----------
    settings : mapping
        As YAML gives it.
    schema : type
        A subclass of ``Settings``.
    path, lines : optional
        The file and the lines it came from, for the errors.

    Returns
    -------
    Settings
        Frozen and validated.

    Raises
    ------
    ExperimentError
        With what was expected, what came and the cure.
    """
    lines = dict(lines or {})
    try:
        experiment = schema.model_validate(settings)
    except ValidationError as error:
        raise ExperimentError(_in_plain_words(error, schema, settings, path, lines)) from None
    if isinstance(experiment, SettingsFile):
        experiment._path = path
        experiment._lines = lines
    return experiment


#: What several tools call one thing; whichever of them is known here is meant.
_ONE_THING = (
    ("lr0", "learning_rate", "lr", "base_lr", "initial_lr", "learningrate"),
    ("lrf", "final_lr", "min_lr"),
    ("epochs", "epoch", "num_epochs", "n_epochs", "max_epochs"),
    ("batch", "batch_size", "batchsize", "bs"),
    ("imgsz", "image_size", "img_size", "imgsize", "img", "input_size", "size"),
    ("workers", "num_workers", "n_workers", "worker"),
    ("optimizer", "optimiser", "optim"),
    ("weight_decay", "wd", "decay", "l2"),
    ("warmup_epochs", "warmup"),
    ("patience", "early_stopping"),
    ("amp", "fp16", "half_precision", "mixed_precision"),
    ("fliplr", "hflip", "horizontal_flip"),
    ("flipud", "vflip", "vertical_flip"),
    ("device", "gpu", "gpus", "devices"),
    ("weights", "model", "checkpoint", "pretrained"),
    ("seeds", "seed"),
)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Suggest the nearest known word, or nothing if none is near.

    Examples
    --------
    >>> did_you_mean("epoch", ["epochs", "batch"])
    "; did you mean 'epochs'?"
    >>> did_you_mean("learning_rate", ["erasing", "lr0"])
    "; did you mean 'lr0'?"
    """
    meant = [name for names in _ONE_THING if word.lower() in names
             for name in names if name in known]
    near = meant or difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def nearest_file(path: Path) -> str:
    """Suggest the file that was probably meant, or say that the folder does not exist."""
    if os.path.isdir(path):
        files = sorted(path.glob("*.yaml"))
        return f" (it holds {files[0].name})" if files else ""
    folder = path.parent
    if not os.path.isdir(folder):
        return f" (there is no folder {folder})"
    return did_you_mean(path.name, [file.name for file in folder.iterdir()]).rstrip("?")


# ------------------------------------------------------------------ YAML with its line numbers


class _Loader(yaml.SafeLoader):
    """YAML 1.1, but ``1e-3`` is a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[Keys, int]]:
    try:
        text = read_regular_file(path, MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise ExperimentError(
            f"expected an experiment file at {path}, got nothing there{nearest_file(path)}; "
            "correct the path"
        ) from None
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise ExperimentError(
            f"expected a readable UTF-8 file at {path}, got {got}; correct the file"
        ) from None
    lines: dict[Keys, int] = {}
    try:
        settings = parse_plain(text, _Loader, lambda node: _collect_lines(node, (), lines, path))
    except YamlFault as error:
        where, what = (f", line {error.line}", "that line") if error.line else ("", "the file")
        raise ExperimentError(
            f"{path}{where}: expected YAML, got a fault: {error}; correct {what}"
        ) from None
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ExperimentError(
            f"{path}: expected keys and values such as 'target: data.yaml', "
            f"got {_kind(settings)}; see experiments/demo.yaml"
        )
    return settings, lines


def _collect_lines(node: yaml.Node | None, keys: Keys, lines: dict[Keys, int], path: Path) -> None:
    if node is None:
        return
    lines.setdefault(keys, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*keys, str(key.value))
            if here in lines:
                raise ExperimentError(
                    f"{path}, line {key.start_mark.line + 1}: expected each key once, got "
                    f"{key.value!r} again (first on line {lines[here]}); keep one"
                )
            lines[here] = key.start_mark.line + 1
            _collect_lines(value, here, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _collect_lines(value, (*keys, index), lines, path)


def apply_override(settings: dict[str, Any], override: str) -> None:
    """Set one key of a mapping by an override such as ``train.epochs=3``."""
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ExperimentError(
            f"--set {override}: expected key=value such as train.epochs=3, got {override!r}"
        )
    try:
        value = parse_plain(text, _Loader)
    except YamlFault:
        raise ExperimentError(
            f"--set {name}: expected a YAML value after '=', got {text!r}"
        ) from None
    *groups, key = name.split(".")
    place = settings
    for group in groups:
        inner = place.setdefault(group, {})
        if not isinstance(inner, dict):
            raise ExperimentError(
                f"--set {override}: expected {group} to hold further keys, got {_kind(inner)}"
            )
        place = inner
    place[key] = value


# ------------------------------------------------------------------------ errors in plain words


def _where(path: Path | None, lines: Mapping[Keys, int], keys: Keys) -> str:
    words = (key for key in keys if isinstance(key, str))
    dotted = ".".join(key if len(key) <= 60 else f"{key[:57]}..." for key in words)
    if path is None:
        return dotted
    line = next((lines[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in lines), None)
    return f"{path}, line {line}, {dotted}" if line else f"{path}, {dotted}"


def _in_plain_words(
    error: ValidationError,
    schema: type[BaseModel],
    settings: Mapping[str, Any],
    path: Path | None,
    lines: Mapping[Keys, int],
) -> str:
    # A missing key is most likely another one misspelt, which is reported first.
    faults = sorted(error.errors(), key=lambda fault: fault["type"] == "missing")
    # A union complains once for each member; the place is the same, so the wishes are joined.
    first = faults[0]
    keys = _real_keys(first["loc"], settings)
    place = _where(path, lines, keys) or "experiment"
    kind = first["type"]
    if kind == "extra_forbidden":
        known = _known_keys(schema, keys[:-1])
        return (f"{place}: expected one of {', '.join(known)}, got the unknown key "
                f"{shown(keys[-1])}" + did_you_mean(str(keys[-1]), known))
    if kind == "missing":
        return f"{path or 'experiment'}: expected the key {keys[-1]!r}, got none; add it"
    if kind == "value_error":
        return f"{place}: {first['ctx']['error']}"
    got = _got(settings, keys)
    wishes = list(dict.fromkeys(
        _wish(fault) for fault in faults if _real_keys(fault["loc"], settings) == keys
    ))
    hint = ""
    if kind == "literal_error" and isinstance(got, str):
        hint = did_you_mean(got, re.findall(r"'([^']*)'", first["ctx"]["expected"]))
    return f"{place}: expected {' or '.join(wishes)}, got {_kind(got)}{hint}"


_WISHES = {
    "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float":
    "a whole number", "float_type": "a number", "float_parsing": "a number", "string_type": "text",
    "bool_type": "true or false", "bool_parsing": "true or false", "tuple_type": "a list",
    "list_type": "a list", "dict_type": "further keys", "model_type": "further keys",
}


def _wish(fault: Mapping[str, Any]) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "literal_error":
        return str(context["expected"])
    if kind in ("greater_than_equal", "greater_than", "less_than_equal", "less_than"):
        sign = {"greater_than_equal": "at least", "greater_than": "more than",
                "less_than_equal": "at most", "less_than": "less than"}[kind]
        return f"{sign} {next(iter(context.values()))}"
    if kind == "too_short":
        return f"at least {context['min_length']} of them"
    if kind == "string_pattern_mismatch":
        return "text that begins with a letter or digit"
    return _WISHES.get(kind, str(fault["msg"]))


def _real_keys(loc: Sequence[str | int], settings: Any) -> Keys:
    """The location without the names that pydantic adds for the members of a union."""
    keys: list[str | int] = []
    place = settings
    for index, key in enumerate(loc):
        known = isinstance(place, Mapping) and key in place
        listed = isinstance(place, list | tuple) and isinstance(key, int) and key < len(place)
        last_missing = isinstance(place, Mapping) and index == len(loc) - 1
        if known or listed:
            keys.append(key)
            place = place[key]
        elif last_missing:
            keys.append(key)
    return tuple(keys)


def _got(settings: Any, keys: Keys) -> Any:
    for key in keys:
        if not (isinstance(settings, Mapping) and key in settings) and not (
            isinstance(settings, list | tuple) and isinstance(key, int) and key < len(settings)
        ):
            return settings
        settings = settings[key]  # type: ignore[index]
    return settings


def _known_keys(schema: type[BaseModel], keys: Keys) -> list[str]:
    for key in keys:
        if isinstance(key, str):
            schema = _model_in(schema.model_fields[key].annotation) or schema
    return list(schema.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The settings that an annotation such as ``Operate | None`` or a list of them is about."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(member) for member in get_args(annotation))
    return next((model for model in found if model), None)


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "further keys"
    if isinstance(value, list | tuple):
        return f"the list {shown(list(value))}"
    return shown(value)
