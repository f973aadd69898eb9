"""The reference pages, made from the code when the documentation is built: they cannot differ from it."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, text in (
        ("commands", commands()),
        ("python", python()),
        ("operations", operations()),
        ("errors", errors()),
        ("settings", settings()),
    ):
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def commands() -> str:
    from trine.cli import main

    lines = ["# Commands", "", inspect.getdoc(main.callback) or "", ""]
    for name in main.list_commands(click.Context(main)):
        command = main.get_command(click.Context(main), name)
        assert command is not None, name
        lines += _command(command, f"trine {name}", 2)
    return "\n".join(lines) + "\n"


def _command(command: click.Command, path: str, level: int) -> Iterator[str]:
    yield from (f"{'#' * level} {path}", "", command.help or "", "")
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _command(command.commands[name], f"{path} {name}", level + 1)
        return
    context = click.Context(command, info_name=path)
    yield from ("```text", command.get_usage(context), "```", "")
    for option in command.params:
        if isinstance(option, click.Option):
            default = f" (default: {option.default})" if option.show_default and option.default is not None else ""
            yield f"- `{', '.join(option.opts)}` {option.help or ''}{default}"
    yield ""
    if example := getattr(command.callback, "example", ""):
        yield from ("```text", example, "```", "")


ROOMS = (
    "trine", "trine.data", "trine.tracking", "trine.features", "trine.models", "trine.evaluation", "trine.pipelines",
    "trine.serving", "trine.monitoring", "trine.loop", "trine.governance", "trine.insights",
)  # fmt: skip


def python() -> str:
    lines = ["# Python", ""]
    for room in ROOMS:
        module = importlib.import_module(room)
        lines += [f"## {room}", "", _text(module), ""]
        names = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
        for name in sorted(names):
            lines += _object(name, getattr(module, name))
    return "\n".join(lines) + "\n"


def _object(name: str, value: Any) -> Iterator[str]:
    yield from (f"### {name}", "")
    if callable(value):
        try:
            shown = re.sub(r"<object object at \w+>|<[\w.]+ object at \w+>", "…", str(inspect.signature(value)))
            yield from ("```text", f"{name}{shown}".replace("'", ""), "```", "")
        except (TypeError, ValueError):
            pass
    yield from (_text(value), "")


def _text(value: Any) -> str:
    """A docstring as Markdown: indented parts become code."""
    return (inspect.getdoc(value) or "").replace("\n    ", "\n\n        ")


def operations() -> str:
    from trine.operations import REGISTRY
    from trine.rooms import load

    load()
    lines = [
        "# Operations",
        "",
        "Every operation of a workspace: a Python function, a REST route and a permission. "
        "The whole document is at `/openapi.json` of a server.",
        "",
        "| operation | route | permission | |",
        "|---|---|---|---|",
    ]
    for name, one in sorted(REGISTRY.items()):
        lines.append(f"| `{name}` | `{one.method} {one.path}` | `{one.allows}` | {one.summary} |")
    return "\n".join(lines) + "\n"


def errors() -> str:
    import trine.errors

    lines = ["# Errors", "", "```text", (inspect.getdoc(trine.errors) or ""), "```", ""]
    return "\n".join(lines)


def settings() -> str:
    from trine import settings as room

    lines = ["# Settings", "", (room.__doc__ or "").strip(), "", "| setting | variable | default |", "|---|---|---|"]
    lines += [f"| `{name}` | `TRINE_{name.upper()}` | `{value or '–'}` |" for name, value in room.DEFAULTS.items()]
    return "\n".join(lines) + "\n"
