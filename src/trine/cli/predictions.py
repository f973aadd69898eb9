"""`trine predictions` and `trine labels`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trine.cli.shell import argument, command, echo, group, is_json, moment_us, option, print_table, show, when

if TYPE_CHECKING:
    import polars as pl

    from trine.serving import Trace
    from trine.workspace import Workspace


@group()
def predictions() -> None:
    """The prediction log: every answer that was given, and the way back from it."""


@predictions.command("ls")
@argument("endpoint")
@option("--since", default="", help="ISO 8601, UTC.")
@option("--until", default="", help="ISO 8601, UTC.")
@option("--limit", default=20, show_default=True, help="The newest so many.")
@option("--shadow", is_flag=True, help="Also answers of shadows.")
@option("--rejected", is_flag=True, help="Also requests that did not fit the signature.")
@command(example="trine predictions ls delays --since 2013-03-01")
def list_predictions(
    ws: Workspace, endpoint: str, since: str, until: str, limit: int, shadow: bool, rejected: bool
) -> None:
    """Predictions of an endpoint, oldest first."""
    from trine import serving

    frame = serving.predictions(
        endpoint, since_us=moment_us(since), until_us=moment_us(until), shadow=shadow, rejected=rejected, ws=ws
    )
    rows = frame.tail(limit).to_dicts()
    if is_json():
        show(rows)
        return
    if not rows:
        echo(f"No predictions yet. Serve the endpoint and ask it: trine serve {endpoint}")
        return
    shown = ["prediction", "probability"] if "probability" in frame.columns else ["prediction"]
    print_table(
        ["prediction", "time", "route", "variant", "model", "status", "ms", "key", *[f"{name} " for name in shown]],
        [
            [
                row["prediction_id"], when(row["time_us"]), row["route"], row["variant"], row["model_version"],
                row["status"], round(row["latency_us"] / 1000, 2), row["key"], *(row.get(name) for name in shown),
            ]
            for row in rows
        ],
    )  # fmt: skip
    if frame.height > limit:
        echo(f"… {frame.height - limit:,} older ones: ask for a higher --limit")


@predictions.command("show")
@argument("id")
@command(example="trine predictions show 019ac3…")
def show_prediction(ws: Workspace, id: str) -> None:
    """One prediction: what was asked, what was answered, and by whom."""
    from trine import serving

    found = serving.find_prediction(id, ws=ws)
    if is_json():
        show(found)
        return
    echo(
        f"{found.id}  {when(found.time_us)}  {found.endpoint} route {found.route}, {found.variant}: {found.model_version}"
    )
    echo(f"{found.status} in {found.latency_us / 1000:.2f} ms" + (f", key {found.key}" if found.key else ""))
    if found.error:
        echo(found.error)
    rows = [[name, "input", value] for name, value in found.inputs.items() if value is not None]
    rows += [[name, "answer", value] for name, value in found.outputs.items() if value is not None]
    if rows:
        print_table(["name", "", "value"], [[name, kind, str(value)] for name, kind, value in rows])


@predictions.command("trace")
@argument("id")
@option("--dot", is_flag=True, help="Print the whole graph as Graphviz text.")
@command(example="trine predictions trace 019ac3…")
def trace(ws: Workspace, id: str, dot: bool) -> None:
    """The way back from a prediction: route, model version, run, data and code."""
    from trine import serving

    found = serving.trace(id, ws=ws)
    show(found, text=found.lineage.dot() if dot else _way_back(found))


def _way_back(found: Trace) -> str:
    answer = next(iter(found.prediction.outputs.values()), None)
    lines = [f"prediction  {found.prediction.id}  answered {answer} at {when(found.prediction.time_us)}"]
    lines += [f"route       {found.route}  variant {found.prediction.variant}"]
    named = [
        ("model", [found.model] if found.model else []),
        ("run", found.runs),
        ("data", found.data),
        ("code", found.code),
    ]
    for name, nodes in named:
        lines += [f"{name:<12}{node}" for node in nodes] or [f"{name:<12}not recorded"]
    rest = len(found.lineage.nodes) - 2 - sum(len(nodes) for _, nodes in named)
    if rest > 0:
        lines.append(f"and {rest} more: trine lineage {found.model} --up")
    return "\n".join(lines)


@group()
def labels() -> None:
    """Labels: the truth about predictions, which arrives later."""


@labels.command("add")
@argument("file", type=click.Path(path_type=Path))
@option("--endpoint", required=True)
@command(example="trine labels add march.csv --endpoint delays")
def add(ws: Workspace, file: Path, endpoint: str) -> None:
    """Keep the labels of FILE (.csv or .parquet with the columns prediction_id, label and, if known, time_us)."""
    from trine import serving

    report = serving.log_labels(endpoint, _read(file), ws=ws)
    unknown = f", {report.unknown:,} of predictions that are not in the log (yet)" if report.unknown else ""
    show(report, text=f"{endpoint}: {report.rows:,} labels{unknown}")


def _read(file: Path) -> pl.DataFrame:
    import polars as pl

    from trine.errors import InvalidInput, NotFound

    if not file.is_file():
        raise NotFound(f"{file} is not there.")
    try:
        if file.suffix == ".parquet":
            return pl.read_parquet(file)
        if file.suffix == ".csv":
            return pl.read_csv(file, infer_schema_length=None, schema_overrides={"prediction_id": pl.String})
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"{file} cannot be read: {str(error).splitlines()[0]}") from error
    raise InvalidInput(f"{file} holds no labels Trine reads: give .csv or .parquet.")


@labels.command("ls")
@argument("endpoint")
@option("--limit", default=20, show_default=True, help="The newest so many.")
@command(example="trine labels ls delays")
def list_labels(ws: Workspace, endpoint: str, limit: int) -> None:
    """Labels of an endpoint's predictions; of several for one prediction, the last."""
    from trine import serving

    rows = serving.labels(endpoint, ws=ws).tail(limit).to_dicts()
    show(
        rows,
        table=[
            ("prediction", lambda row: row["prediction_id"]),
            ("label", lambda row: row["label"]),
            ("time", lambda row: when(row["time_us"])),
        ],
        empty=f"No labels yet. Add some: trine labels add FILE --endpoint {endpoint}",
    )
