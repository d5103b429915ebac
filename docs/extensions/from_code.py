"""The reference made from the code: directives for commands, keys, files and public names."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
import click
import typer
import yaml
from docutils import nodes
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import aoi_tl
from aoi_tl.cli import app as command_line
from aoi_tl.files.contents import CONTENTS

# ------------------------------------------------------------------------------------- commands


def commands() -> str:
    """Describe every command with its arguments and options, as Markdown."""
    group: Any = typer.main.get_command(command_line)
    return "\n".join(_command(name, command) for name, command in group.commands.items())


def _command(name: str, command: click.Command) -> str:
    usage = " ".join([f"aoi-tl {name}", *[str(p.metavar) for p in command.params
                                          if p.param_type_name == "argument"], "[OPTIONS]"])
    rows = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            continue
        names = ", ".join(f"`{word}`" for word in (*parameter.opts, *parameter.secondary_opts))
        rows.append((names, _shown(parameter), _as_code(parameter.help or "")))
    told = [f"## {name}", command.help or "", f"```text\n{usage}\n```"]
    told += [_as_code(p.help) for p in command.params
             if p.param_type_name == "argument" and p.help]
    if rows:
        told.append(table(("option", "default", "meaning"), rows))
    if command.epilog:
        told.append(re.sub(r"(aoi-tl .+?)(?=, or aoi-tl|\. Exit status|$)", r"`\1`",
                           command.epilog))
    return "\n\n".join(told) + "\n"


def _as_code(text: str) -> str:
    """Mark options in a sentence as code."""
    return re.sub(r"(--[a-z][a-z-]*)", r"`\1`", " ".join(text.split()))


def _shown(parameter: Any) -> str:
    if parameter.is_flag or parameter.default in (None, ()):
        return ""
    value = getattr(parameter.default, "value", parameter.default)
    return f"`{value}`"


# ----------------------------------------------------------------------------------------- keys


def settings(name: str) -> str:
    """Describe every key of a settings model and of the groups in it, as Markdown."""
    module, _, model = name.rpartition(".")
    return table(("key", "default", "values", "meaning"), [
        (f"`{key}`", default, values, meaning)
        for key, default, values, meaning in keys(getattr(importlib.import_module(module), model))
    ])


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Give each key of a model: dotted name, default, what it may be, what it means."""
    meanings = documented(model)
    for key, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        default = "" if inner and not field.is_required() else _default(field)
        yield (prefix + key, default, " or ".join(dict.fromkeys(_values(field))),
               meanings.get(key, ""))
        if inner:
            yield from keys(inner, f"{prefix}{key}.")


def documented(model: type[BaseModel]) -> dict[str, str]:
    """Read the string below each key, of the classes above it too."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if not owner.__module__.startswith("aoi_tl."):
            continue
        [body] = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(
                below.value, ast.Constant
            ):
                assert isinstance(field.target, ast.Name)
                text = " ".join(str(below.value.value).split()).replace("``", "`")
                found[field.target.id] = text
    return found


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_model_in, get_args(annotation)) if m), None)


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or value is None or value in ((), {}):
        return "none"
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value)
    return f"`{yaml.safe_dump(value, default_flow_style=True).split(chr(10))[0]}`"


_WORDS = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`",
          dict: "keys and values", object: "any"}


def _values(field: Any) -> Iterator[str]:
    yield from _kinds(field.annotation, field.metadata)


def _kinds(annotation: Any, limits: Any = ()) -> Iterator[str]:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        yield ", ".join(f"`{value}`" for value in inside)
    elif origin in (Union, types.UnionType):
        for member in inside:
            if member is not type(None):
                yield from _kinds(member)
    elif origin is tuple:
        yield f"list ({' or '.join(_kinds(inside[0]))})"
    elif hasattr(annotation, "__metadata__"):
        yield from _kinds(inside[0], annotation.__metadata__)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "the keys below"
    else:
        yield _WORDS.get(origin or annotation, str(annotation)) + _limits(limits)


def _limits(metadata: Any) -> str:
    found = []
    for limit in metadata:
        inner = getattr(limit, "metadata", None) or [limit]
        for one in inner:
            for kind, word in ((annotated_types.Ge, "at least"), (annotated_types.Gt, "above"),
                               (annotated_types.Le, "at most"), (annotated_types.Lt, "below")):
                if isinstance(one, kind):
                    found.append(f"{word} {getattr(one, kind.__name__.lower()):g}")
    return f" {' and '.join(found)}" if found else ""


# ------------------------------------------------------------------------------ files and names


def files() -> str:
    """Describe every file that a run may hold, as Markdown."""
    return "\n\n".join(
        f"## {who}\n\n" + table(("file", "what it holds"),
                                [(f"`{name}`", text) for name, text in content.items()])
        for who, content in CONTENTS.items()
    )


def public_names() -> str:
    """Document what `aoi_tl` exports, from the docstrings, as Markdown with autodoc in it."""
    blocks = []
    for name in aoi_tl.__all__:
        found = getattr(aoi_tl, name)
        kind = "autofunction" if inspect.isfunction(found) else "autoclass"
        if inspect.isclass(found) and issubclass(found, BaseException):
            kind = "autoexception"
        blocks.append(f"## {name}\n\n```{{eval-rst}}\n.. {kind}:: aoi_tl.{name}\n```")
    return "\n\n".join(blocks)


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Write a Markdown table."""
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def directive(make: Callable[..., str], arguments: int = 0) -> type[SphinxDirective]:
    """Make a directive of a function that gives Markdown."""

    class FromCode(SphinxDirective):
        required_arguments = arguments

        def run(self) -> list[nodes.Node]:
            return self.parse_text_to_nodes(make(*self.arguments), allow_section_headings=True)

    return FromCode


def link_to_the_repository(app: Sphinx, page: str, source: list[str]) -> None:
    """Make links to measured results, which are no pages of the site, downloads."""
    source[0] = re.sub(r"\]\(((?:\.\./)+benchmarks/)", r"](path:\1", source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directives."""
    app.add_directive("commands", directive(commands))
    app.add_directive("settings", directive(settings, 1))
    app.add_directive("files", directive(files))
    app.add_directive("public-names", directive(public_names))
    app.connect("source-read", link_to_the_repository)
    return {"parallel_read_safe": True}
