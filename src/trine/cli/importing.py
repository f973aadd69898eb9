"""`trine import` and `trine export`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from trine.cli.shell import argument, command, echo, group, is_json, option, show, single

if TYPE_CHECKING:
    from trine.models.importing import ModelsReport
    from trine.tracking.importers.writer import Report
    from trine.workspace import Workspace


@group("import")
def import_() -> None:
    """Move in: the history of another tool, as runs and models here.

    Ids, times, steps, nesting, tags, files and registries are kept. What is here already is not written again, so an
    import that was interrupted, or whose source went on, is simply run again.
    """


@import_.command("mlflow")
@argument("source", metavar="DATABASE|FOLDER|SERVER")
@option("--artifacts", default="", metavar="FOLDER|URL", help="Where the artifacts are, if not where MLflow says.")
@command(
    example="trine import mlflow sqlite:///mlflow.db\ntrine import mlflow ./mlruns\ntrine import mlflow http://127.0.0.1:5000"
)
def mlflow(ws: Workspace, source: str, artifacts: str) -> None:
    """Runs and models of MLflow: a database (sqlite:///… or postgresql://…), an mlruns folder, or a server's address."""
    _move(ws, "mlflow", source, {"artifacts": artifacts})


@import_.command("wandb")
@argument("folder")
@command(example="trine import wandb ./wandb")
def wandb(ws: Workspace, folder: str) -> None:
    """Runs of Weights & Biases, from the .wandb files below FOLDER: no service, no account, no wandb needed."""
    _move(ws, "wandb", folder, {})


@import_.command("tensorboard")
@argument("folder")
@option("--experiment", default="", help="Name of the experiment; default: the folder's.")
@command(example="trine import tensorboard ./runs")
def tensorboard(ws: Workspace, folder: str, experiment: str) -> None:
    """Scalars, texts and hyperparameters of TensorBoard: each folder with event files is a run."""
    _move(ws, "tensorboard", folder, {"experiment": experiment})


@import_.command("trackio")
@argument("source", metavar="FOLDER|FILE")
@command(example="trine import trackio ~/.cache/huggingface/trackio")
def trackio(ws: Workspace, source: str) -> None:
    """Runs of trackio: its folder, or the database of one project."""
    _move(ws, "trackio", source, {})


@import_.command("neptune")
@argument("folder")
@option("--experiment", default="", help="Name of the experiment; default: the project's.")
@command(example="trine import neptune ./neptune-export")
def neptune(ws: Workspace, folder: str, experiment: str) -> None:
    """Runs of Neptune, from the Parquet files that its exporter wrote."""
    _move(ws, "neptune", folder, {"experiment": experiment})


@import_.command("aim")
@argument("folder")
@option("--python", default="", metavar="PATH", help="A Python that has aim; default: the one that runs Trine.")
@command(example="trine import aim . --python ~/old-project/.venv/bin/python")
def aim(ws: Workspace, folder: str, python: str) -> None:
    """Runs of Aim: the folder that holds .aim. Only aim itself reads its databases, so a Python that has it is asked."""
    _move(ws, "aim", folder, {"python": python})


@import_.command("other")
@argument("importer")
@argument("source")
@option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Given to the importer.")
@command(example="trine import other sacred ./sacred-runs --option database=runs")
def other(ws: Workspace, importer: str, source: str, options: tuple[str, ...]) -> None:
    """Runs of another tool, through an importer that a package brings (entry points trine.importers)."""
    given = {name: value for name, _, value in (one.partition("=") for one in options)}
    _move(ws, importer, source, given)


def _move(ws: Workspace, kind: str, where: str, options: dict[str, str]) -> None:
    from trine.models.importing import move_models_in
    from trine.tracking.importers import open_source
    from trine.tracking.importers.writer import move_in

    source = open_source(kind, where, {name: value for name, value in options.items() if value})
    report = move_in(source, tell=_progress(lambda one: f"{one.runs:,} runs, {one.points:,} points"), ws=ws)
    models = move_models_in(source, tell=_progress(lambda one: f"{one.models:,} models"), ws=ws)
    _clear()
    if is_json():
        show({"runs": report, "models": models})
        return
    for line in _told(report) + _told_models(models):
        echo(line)


def _progress(line: Callable[[Any], str]) -> Callable[[Any], None]:
    def tell(report: Any) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{line(report)} …", nl=False, err=True)

    return tell


def _clear() -> None:
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)


def _told(report: Report) -> list[str]:
    """The report for people."""
    below = f", {report.nested} of them below another" if report.nested else ""
    lines = [
        f"{report.source} {report.location}",
        f"  runs        {report.runs:,} in {_count(report.experiments, 'experiment')}{below}: {report.added:,} new, "
        f"{report.updated:,} brought up to date, {report.unchanged:,} here already",
        f"  points      {report.points:,} of {_count(report.metrics, 'metric')} ({report.points_moved:,} moved now)",
        f"  params      {report.params:,}, tags {report.tags:,}",
        f"  files       {report.artifacts:,}, {report.artifact_bytes:,} bytes"
        + (f", of {_count(report.models, 'logged model')} among them" if report.models else ""),
        f"  checksum    {report.checksum[:16]}: the same there and here",
        f"  took        {report.seconds:.1f} s"
        + (f", {report.points_per_s:,} points/s" if report.points > 10_000 else ""),
    ]
    if report.cut:
        lines.append(f"  long texts  {report.cut:,} params, tags or names are whole in a file of their run, imported/")
    for what, ids in (("was not imported", report.kept), ("was changed or removed here since", report.changed)):
        if ids:
            more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
            lines.append(f"  left alone  {', '.join(ids[:5])}{more}: {'it' if len(ids) == 1 else 'each'} {what}")
    return lines + [f"  problem     {one}" for one in report.problems[:20]] + _rest(report.problems)


def _told_models(report: ModelsReport) -> list[str]:
    if not report.models:
        return []
    lines = [
        f"  models      {report.models:,} with {_count(report.versions, 'version')}: {report.added:,} new, "
        f"{report.unchanged:,} here already",
        f"  aliases     {report.aliases:,}, stages {report.stages:,} ({report.aliases_moved:,} aliases moved now)",
    ]
    lines += [f"  left alone  {one} is something else here" for one in report.kept[:20]]
    return lines + [f"  problem     {one}" for one in report.problems[:20]] + _rest(report.problems)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _rest(problems: list[str]) -> list[str]:
    return [f"  … and {len(problems) - 20:,} problems more: --json has all"] if len(problems) > 20 else []


@single("export")
@argument("form", type=click.Choice(["mlflow", "parquet"]))
@argument("folder")
@option("--where", "expression", default="", help="Only runs for which this is true (see: trine runs search --help).")
@option("--experiment", "-e", default="", help="Only runs of this experiment.")
@command(example="trine export parquet ./tables\ntrine export mlflow ./mlruns -e churn")
def export(ws: Workspace, form: str, folder: str, expression: str, experiment: str) -> None:
    """Runs as files: an mlruns folder that MLflow reads, or Parquet tables of runs, params, tags, metrics and points.

    Without --where and --experiment the mlruns folder holds the model registry too.
    """
    from trine.tracking.exporting import export_runs

    report = export_runs(form, folder, expression, experiment=experiment, ws=ws)
    models = None
    if form == "mlflow" and not (expression or experiment):
        from trine.models.exporting import export_models

        models = export_models(folder, ws=ws)
    told = f"{report.runs:,} runs, {report.points:,} points, {report.artifacts:,} files in {report.folder}"
    if models and models.models:
        told += f"; {_count(models.models, 'model')} with {_count(models.versions, 'version')}"
    show({"runs": report, "models": models}, text=None if is_json() else told)
