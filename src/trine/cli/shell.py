"""What every command shares: the workspace it works in, how it shows results, how errors end it.

Exit codes: 0 done · 1 failure · 2 bad usage or input · 3 not found · 4 refused or held · 5 conflict or a check said no.
"""

from __future__ import annotations

import datetime as dt
import functools
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from trine.errors import TrineError

__all__ = ["ago", "argument", "command", "echo", "group", "moment_us", "option", "print_table", "show", "when"]

argument = click.argument
option = click.option

Column = tuple[str, Callable[[Any], Any]]


class Command(click.Command):
    """A command whose help ends with an example."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if example := getattr(self.callback, "example", ""):
            formatter.write_paragraph()
            with formatter.section("Example"):
                for line in example.splitlines():
                    formatter.write_text(line)


class Group(click.Group):
    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            from trine.errors import nearest

            ctx.fail(f'No command "{args[0]}" in {ctx.command_path}.{nearest(args[0], self.commands)}')
        return super().resolve_command(ctx, args)


Group.group_class = Group


def group(name: str | None = None) -> Callable[[Callable[..., Any]], Group]:
    """A group of commands; its docstring is its help."""
    return lambda function: click.group(name=name, cls=Group)(function)


def single(name: str | None = None) -> Callable[[Callable[..., Any]], Command]:
    """A command at the top level."""
    return lambda function: click.command(name=name, cls=Command)(function)


def command(
    *, example: str, workspace: bool = True, opened: bool = True
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function a command's body: adds --json, --workspace and --project, opens the workspace as its first
    argument (unless `workspace` is False; not `opened`: only located, for a command that looks at local files alone), and
    turns a TrineError into one line on standard error and its exit code."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def body(
            *args: Any,
            as_json: bool,
            workspace_location: str | None = None,
            project: str | None = None,
            **values: Any,
        ) -> None:
            context = click.get_current_context()
            context.meta["json"] = as_json
            try:
                if not workspace:
                    function(*args, **values)
                    return
                from trine.workspace import existing, locate, using

                if not opened:
                    function(locate(workspace_location, project=project), *args, **values)
                    return
                with existing(workspace_location, project=project) as ws, using(ws):
                    function(ws, *args, **values)
            except TrineError as error:
                fail(error, as_json)
            except click.Abort:
                from trine.errors import InvalidInput

                click.echo(err=True)
                fail(
                    InvalidInput("This command asks for an answer, and there was none. Run it in a terminal."), as_json
                )
            except OSError as error:  # a file named here that cannot be read or written
                from trine.errors import Failure

                if isinstance(error, BrokenPipeError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                    sys.exit(1)
                where = f"{error.filename}: " if error.filename else ""
                fail(Failure(f"{where}{error.strerror or error}."), as_json)
            except KeyboardInterrupt:
                click.echo("interrupted", err=True)
                sys.exit(130)

        body.example = example  # type: ignore[attr-defined]
        decorated: Callable[..., Any] = body
        if workspace:
            decorated = option("--project", help="Project; default from the settings.")(decorated)
            decorated = option(
                "--workspace",
                "-w",
                "workspace_location",
                metavar="FOLDER|URL",
                help="Workspace; default: the nearest .trine/.",
            )(decorated)
        return option("--json", "as_json", is_flag=True, help="Print JSON.")(decorated)

    return wrap


def fail(error: TrineError, as_json: bool) -> None:
    """Say what went wrong and leave with the error's exit code."""
    if as_json:
        import msgspec

        body = {"error": {"code": error.code, "message": error.message, "details": error.details}}
        click.echo(msgspec.json.encode(body, enc_hook=str).decode(), err=True)
    else:
        click.secho("error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(error.message, err=True)
    if os.environ.get("TRINE_DEBUG"):
        raise error
    sys.exit(error.exit_code)


def is_json() -> bool:
    return bool(click.get_current_context().meta.get("json"))


def echo(text: str = "") -> None:
    """A line for people: nothing with --json."""
    if not is_json():
        click.echo(text)


def show(
    value: Any, *, table: Sequence[Column] | None = None, text: str | None = None, empty: str = "Nothing yet."
) -> None:
    """A result: JSON with --json, else a table of its items, else the text, else name and value by line."""
    if is_json():
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode())
        return
    if text is not None:
        click.echo(text)
        return
    if table is not None:
        items: Iterable[Any] = getattr(value, "items", value) if not isinstance(value, (list, tuple)) else value
        rows = list(items)
        if rows:
            print_table([name for name, _ in table], [[get(row) for _, get in table] for row in rows])
        else:
            click.echo(empty)
        if getattr(value, "next", ""):
            click.echo("… more: ask for a higher --limit")
        return
    import msgspec

    plain = msgspec.to_builtins(value, enc_hook=str)
    if isinstance(plain, dict):
        width = max(map(len, plain), default=0)
        for name, one in plain.items():
            click.echo(f"{name.ljust(width)}  {_cell(one)}")
    else:
        click.echo(_cell(plain))


NARROW = 19
"""Columns of up to so many characters are never cut."""


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A plain aligned table, numbers to the right. On a terminal the widest columns are cut until it fits; into a pipe nothing is."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    if sys.stdout.isatty():
        space = shutil.get_terminal_size().columns - 3 * (len(widths) - 1)
        while sum(widths) > space and max(widths) > NARROW:
            widths[widths.index(max(widths))] -= 1
    right = [
        all(isinstance(row[at], (int, float)) or row[at] in ("", None) for row in rows) for at in range(len(header))
    ]

    def line(values: Sequence[str]) -> str:
        cut = [one if len(one) <= width else one[: width - 1] + "…" for one, width in zip(values, widths, strict=True)]
        padded = [
            one.rjust(width) if is_number else one.ljust(width)
            for one, width, is_number in zip(cut, widths, right, strict=True)
        ]
        return "   ".join(padded).rstrip()

    click.secho(line(header), bold=True)
    click.echo("─" * (sum(widths) + 3 * (len(widths) - 1)))
    for row in cells:
        click.echo(line(row))


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_cell, value))  # pyright: ignore[reportUnknownArgumentType]
    return str(value)


def counted(number: int, what: str) -> str:
    """A number of things for people: 1 file, 2,000 files."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def size_of(size_bytes: int) -> str:
    """A size for people."""
    for unit, power in (("GB", 30), ("MB", 20), ("KB", 10)):
        if size_bytes >= 1 << power:
            return f"{size_bytes / (1 << power):.1f} {unit}"
    return f"{size_bytes} bytes"


def when(us: int | None) -> str:
    """A time for people: UTC to the second."""
    if us is None:
        return "–"
    return dt.datetime.fromtimestamp(us / 1_000_000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def moment_us(text: str) -> int | None:
    """A time as people write it (ISO 8601; UTC unless it names a zone), in microseconds since the epoch; None for ""."""
    from trine.errors import InvalidInput
    from trine.ids import to_us

    try:
        return to_us(dt.datetime.fromisoformat(text)) if text else None
    except ValueError:
        raise InvalidInput(f'"{text}" is no time: write 2013-03-01 or 2013-03-01T12:00:00.') from None


def ago(us: int | None) -> str:
    """How long ago, in one unit."""
    if us is None:
        return "–"
    from trine.ids import now_us

    seconds = max(0, (now_us() - us) // 1_000_000)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
