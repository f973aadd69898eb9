"""The command line. Commands are loaded when they are called, so `trine --help` stays fast."""

from __future__ import annotations

import importlib
from typing import NamedTuple

import click

from trine import __version__


class Entry(NamedTuple):
    """Where a command is, and the line that `trine --help` shows without loading it."""

    module: str
    attribute: str
    help: str
    section: str


COMMANDS: dict[str, Entry] = {
    "init": Entry("workspaces", "init", "Make a workspace in a folder.", "Start"),
    "demo": Entry("demo", "demo", "Run the whole loop on a year of real flights.", "Start"),
    "config": Entry("workspaces", "config", "Settings, and where each value comes from.", "Start"),
    "ui": Entry("ui", "ui", "Look at a workspace in the browser.", "Start"),
    "server": Entry("server", "server", "Serve a workspace to a team over HTTP.", "Start"),
    "login": Entry("server", "login", "Sign in to a server and keep the token.", "Start"),
    "completion": Entry("workspaces", "completion", "Print the completion script for a shell.", "Start"),
    "data": Entry("data", "data", "Datasets: add, commit, check out, compare, verify.", "Track"),
    "runs": Entry("runs", "runs", "Experiments and runs: search, show, compare.", "Track"),
    "reproduce": Entry("reproducing", "reproduce", "Make a run again from what was captured, and compare.", "Track"),
    "sweep": Entry("sweeping", "sweep", "Run a program many times with suggested values.", "Track"),
    "features": Entry("features", "features", "Feature views: freshness, online values.", "Track"),
    "models": Entry("models", "models", "Registered models: versions, aliases, gates.", "Track"),
    "import": Entry("importing", "import_", "Move in: MLflow, W&B, TensorBoard and others.", "Track"),
    "export": Entry("importing", "export", "Runs as files: an mlruns folder, or Parquet.", "Track"),
    "traces": Entry("traces", "traces", "Calls to language models, span by span.", "Track"),
    "evals": Entry("evals", "evals", "Datasets that language models are judged on.", "Track"),
    "pipeline": Entry("pipelines", "pipeline", "Pipelines: run, resume, logs.", "Automate"),
    "loop": Entry("loop", "loop", "Continuous training: triggers, gate, rollout.", "Automate"),
    "approvals": Entry("access", "approvals", "Held operations: approve or reject.", "Automate"),
    "serve": Entry("serving", "serve", "Serve an endpoint's models over HTTP.", "Serve and watch"),
    "endpoints": Entry("serving", "endpoints", "Endpoints and their routes; roll back.", "Serve and watch"),
    "rollout": Entry("rollouts", "rollout", "Canary rollouts: start, advance, abort.", "Serve and watch"),
    "predictions": Entry("predictions", "predictions", "The prediction log; trace one back.", "Serve and watch"),
    "labels": Entry("predictions", "labels", "The truth that arrived later.", "Serve and watch"),
    "monitor": Entry("monitoring", "monitor", "Drift, quality and accuracy: check and see.", "Serve and watch"),
    "alerts": Entry("monitoring", "alerts", "Alerts: list, acknowledge, mute.", "Serve and watch"),
    "lineage": Entry("lineage", "lineage", "What a thing came from, and what came of it.", "Govern"),
    "audit": Entry("audit", "audit", "The event log: read, verify, export, follow.", "Govern"),
    "access": Entry("access", "access", "Principals, roles, tokens, policies.", "Govern"),
    "verify": Entry("upkeep", "verify", "Whether all that the workspace needs is there and whole.", "Govern"),
    "gc": Entry("upkeep", "gc", "Free the space of what nothing needs any more.", "Govern"),
    "card": Entry("governance", "card", "A model's card, rendered from the graph.", "Govern"),
    "ladder": Entry("insights", "ladder", "Which phase each model has reached, and the next step.", "Govern"),
    "metrics": Entry("insights", "metrics", "Delivery metrics of code and models.", "Govern"),
}


class Shell(click.Group):
    """The root group: knows all names, loads one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        return getattr(importlib.import_module(f"trine.cli.{entry.module}"), entry.attribute)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from trine.errors import nearest

            ctx.fail(f'No command "{args[0]}".{nearest(args[0], COMMANDS)} See: trine --help')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl([(n, e.help) for n, e in COMMANDS.items() if e.section == section])


@click.command(cls=Shell, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="trine", message="%(prog)s %(version)s")
def main() -> None:
    """Trine keeps machine-learning systems true: it versions code, data and models in one
    lineage graph and runs the loop that keeps them so.

    \b
    New here?     trine demo
    In a project: trine init, then  import trine; trine.run("experiment")
    """
