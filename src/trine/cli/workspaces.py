"""`trine init`, `trine config`, `trine completion`."""

from __future__ import annotations

import click

from trine.cli.shell import argument, command, group, option, show, single


@single("init")
@argument("folder", default=".")
@option("--store", help="Where objects live: a folder or s3://bucket/prefix (default: in the workspace).")
@option("--git-hooks", is_flag=True, help="Also have git keep trine.lock, the data and the code together.")
@command(example="trine init\ntrine init my-project\ntrine init --git-hooks", workspace=False)
def init(folder: str, store: str | None, git_hooks: bool) -> None:
    """Make a workspace in FOLDER (default: here), or say that there is one.

    With --git-hooks the git repository around it merges trine.lock by dataset, refuses commits whose data is not as
    pinned, brings data along at checkouts and merges, and pushes data before the code that needs it.
    """
    from pathlib import Path

    from trine.workspace import init as make

    there = (Path(folder) / ".trine" / "ledger.db").exists()
    with make(folder, store=store) as ws:
        location = str(ws.root)
    verb = "There is a workspace" if there else "Made a workspace"
    text = f"{verb} in {location}"
    hooks: list[str] = []
    if git_hooks:
        from trine.data.githooks import install

        set_up = install(Path(folder))
        hooks = set_up.hooks
        text += f"\nHooks in {set_up.repository}: {', '.join(hooks) or 'all there already'}. Commit .gitattributes."
    show(
        {"workspace": location, "created": not there, "hooks": hooks},
        text=f'{text}\nNext: trine data add PATH --name NAME -m "first version"',
    )


@group()
def config() -> None:
    """Settings: defaults < .trine/config.toml < [tool.trine] in pyproject.toml < TRINE_* < arguments."""


@config.command("show")
@command(example="trine config show", workspace=False)
def config_show() -> None:
    """Every setting, its value, and the place that set it."""
    from trine.settings import resolve

    entries = [{"name": one.name, "value": one.shown, "source": one.source} for one in resolve()]
    show(
        entries,
        table=[
            ("setting", lambda e: e["name"]),
            ("value", lambda e: e["value"] or "–"),
            ("from", lambda e: e["source"]),
        ],
    )


@single("completion")
@argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@command(example='eval "$(trine completion bash)"', workspace=False)
def completion(shell: str) -> None:
    """Print the completion script for SHELL."""
    from click.shell_completion import get_completion_class

    from trine.cli import main

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(main, {}, "trine", "_TRINE_COMPLETE").source()
    show({"shell": shell, "script": script}, text=script)
