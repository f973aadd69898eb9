"""`trine serve`, `trine endpoints`, `trine rollout`, `trine predictions`, `trine labels`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trine.cli.shell import (
    ago,
    argument,
    command,
    echo,
    group,
    is_json,
    moment_us,
    option,
    print_table,
    show,
    single,
    when,
)

if TYPE_CHECKING:
    import polars as pl

    from trine.serving import Canary, Rollout, Route, Trace, Variant
    from trine.workspace import Workspace


# -- serve ----------------------------------------------------------------------------------------------------------


@single("serve")
@argument("endpoints", nargs=-1, required=True, metavar="ENDPOINT…")
@option("--host", default="127.0.0.1", show_default=True)
@option("--port", default=8800, show_default=True, help="0 picks a free one.")
@option("--token-required", is_flag=True, help="Ask for a token on loopback too; elsewhere it is always asked for.")
@option("--allow-host", multiple=True, help="A host name this server answers for without tokens; repeatable.")
@option(
    "--durability",
    type=click.Choice(["os", "disk"]),
    default="os",
    show_default=True,
    help="When a prediction counts as logged: kept by the operating system, or synced to disk.",
)
@option("--ship-after", default=60.0, show_default=True, help="Seconds after which logged predictions are stored.")
@option("--allow-pickle", is_flag=True, help="Load models that are kept as a pickle: this runs code from their files.")
@command(example="trine serve delays --port 8800")
def serve(
    ws: Workspace,
    endpoints: tuple[str, ...],
    host: str,
    port: int,
    token_required: bool,
    allow_host: tuple[str, ...],
    durability: Any,
    ship_after: float,
    allow_pickle: bool,
) -> None:
    """Serve endpoints over HTTP: the Open Inference Protocol (/v2) and MLflow's /invocations.

    One process; routes are followed while it runs, so a deploy or a rollback needs no restart.
    """
    from trine.server.serving import run

    run(
        ws,
        endpoints,
        host=host,
        port=port,
        token_required=token_required,
        allow_hosts=allow_host,
        durability=durability,
        log_age_s=ship_after,
        allow_pickle=allow_pickle,
    )


# -- endpoints ------------------------------------------------------------------------------------------------------


@group()
def endpoints() -> None:
    """Endpoints: served names, and the routes that say which model versions answer."""


@endpoints.command("create")
@argument("name")
@option("--model", default="", help="NAME, NAME@VERSION or NAME@ALIAS; the version it means now is served.")
@option("--key", default="", help="The column that keeps a caller on one variant.")
@option("--description", "-m", default="")
@command(example="trine endpoints create delays --model delays@production --key customer_id")
def create(ws: Workspace, name: str, model: str, key: str, description: str) -> None:
    """Make an endpoint."""
    from trine import serving

    made = serving.create_endpoint(name, model=model, key=key, description=description, ws=ws)
    next_ = "" if made.route else f"\nGive it a model: trine endpoints deploy {name} MODEL"
    show(made, text=f"{name}  {_told(made.route)}{next_}\nServe it: trine serve {name}")


@endpoints.command("ls")
@command(example="trine endpoints ls")
def list_(ws: Workspace) -> None:
    """Endpoints and what they serve."""
    from trine import serving

    show(
        serving.list_endpoints(ws=ws),
        table=[
            ("endpoint", lambda e: e.name),
            ("route", lambda e: e.route.number if e.route else None),
            ("serves", lambda e: [_variant(one) for one in e.route.variants] if e.route else None),
            ("since", lambda e: ago(e.route.created_us if e.route else None)),
            ("key", lambda e: e.key),
            ("description", lambda e: e.description),
        ],
        empty="No endpoints yet. Make one: trine endpoints create NAME --model MODEL",
    )


@endpoints.command("show")
@argument("name")
@command(example="trine endpoints show delays")
def show_endpoint(ws: Workspace, name: str) -> None:
    """One endpoint: its route, its rollout, and whether an alias has moved on since."""
    from trine import serving

    found = serving.get_endpoint(name, ws=ws)
    if is_json():
        show(found)
        return
    echo(f"{found.name}  {_told(found.route)}")
    if found.description:
        echo(found.description)
    if found.key:
        echo(f"key      {found.key}")
    if found.route:
        echo(f"since    {when(found.route.created_us)} by {found.route.author}  {found.route.reason}")
        if found.route.problem:
            echo(f"problem  {found.route.problem}")
        for model in dict.fromkeys(one.model.partition("@")[0] for one in found.route.live):
            _tell_alias(ws, found.route, model)
    for one in serving.list_rollouts(name, ws=ws)[:1]:
        if one.state == "running":
            echo(f"rollout  {one.id}  {one.model} has {one.share} %")


def _tell_alias(ws: Workspace, route: Route, model: str) -> None:
    from trine import models
    from trine.errors import NotFound

    try:
        production = models.resolve(f"{model}@production", ws=ws)
    except NotFound:
        return
    if production.ref not in [one.model for one in route.variants]:
        echo(
            f"alias    {model}@production is {production.ref}: deploy it with  trine rollout start {route.endpoint} {production.ref}"
        )


@endpoints.command("deploy")
@argument("name")
@argument("model", required=False)
@option("--variant", "variants", multiple=True, metavar="NAME=MODEL:WEIGHT", help="Split the traffic; repeatable.")
@option(
    "--shadow", "shadows", multiple=True, metavar="MODEL[:PERCENT]", help="Also ask this version, record, never answer."
)
@option("--reason", "-m", default="")
@command(
    example="trine endpoints deploy delays delays@4\n"
    "trine endpoints deploy delays --variant a=delays@3:90 --variant b=delays@4:10\n"
    "trine endpoints deploy delays delays@3 --shadow delays@4:20"
)
def deploy(
    ws: Workspace, name: str, model: str | None, variants: tuple[str, ...], shadows: tuple[str, ...], reason: str
) -> None:
    """Serve MODEL, or a split of the traffic, from now on. Servers follow at once and drop no request."""
    from trine import serving

    wanted = [_read_variant(text) for text in variants]
    if bool(model) == bool(wanted):
        raise click.UsageError("Give a MODEL, or --variant for each share of the traffic.")
    if model:
        wanted = [serving.Variant("main", model)]
    wanted += [_read_shadow(text, index) for index, text in enumerate(shadows)]
    made = serving.set_route(name, wanted, reason=reason, ws=ws)
    show(made, text=f"{name}  {_told(made)}")


def _read_variant(text: str) -> Variant:
    from trine.serving import Variant

    name, equals, rest = text.partition("=")
    model, colon, weight = rest.partition(":")
    return Variant(name, model, _weight(weight if equals and colon else "", text, "NAME=MODEL:WEIGHT"))


def _read_shadow(text: str, index: int) -> Variant:
    from trine.serving import Variant

    model, _, percent = text.partition(":")
    share = _weight(percent or "100", text, "MODEL[:PERCENT]")
    return Variant("shadow" if not index else f"shadow-{index + 1}", model, share, "shadow")


def _weight(text: str, given: str, form: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise click.UsageError(f'"{given}" is not written as {form}.') from None


@endpoints.command("routes")
@argument("name")
@command(example="trine endpoints routes delays")
def routes(ws: Workspace, name: str) -> None:
    """What an endpoint served, newest first."""
    from trine import serving

    now = serving.get_endpoint(name, ws=ws).route
    show(
        serving.routes(name, ws=ws),
        table=[
            ("route", lambda r: f"{r.number}{' *' if now and r.number == now.number else ''}"),
            ("serves", lambda r: [_variant(one) for one in r.variants]),
            ("restores", lambda r: r.restores or None),
            ("rollout", lambda r: r.rollout or None),
            ("by", lambda r: r.author),
            ("made", lambda r: ago(r.created_us)),
            ("reason", lambda r: r.problem or r.reason),
        ],
        empty=f"Nothing was deployed yet. See: trine endpoints deploy {name} MODEL",
    )


@endpoints.command("rollback")
@argument("name")
@option("--reason", "-m", default="")
@command(example="trine endpoints rollback delays -m 'complaints from Boston'")
def rollback(ws: Workspace, name: str, reason: str) -> None:
    """Serve again what was served before."""
    from trine import serving

    made = serving.rollback(name, reason=reason, ws=ws)
    show(made, text=f"{name}  {_told(made)}, as route {made.restores} did")


@endpoints.command("rm")
@argument("name")
@command(example="trine endpoints rm delays")
def remove(ws: Workspace, name: str) -> None:
    """Stop serving a name. Its routes and its predictions stay and can be traced."""
    from trine import serving

    show(serving.delete_endpoint(name, ws=ws), text=f"{name} is not served any more")


def _variant(one: Variant) -> str:
    return f"{one.model} {one.weight:.3g} %{' (shadow)' if one.role == 'shadow' else ''}"


def _told(route: Route | None) -> str:
    if route is None:
        return "serves nothing yet"
    return f"route {route.number}: {', '.join(map(_variant, route.variants))}"


# -- rollout --------------------------------------------------------------------------------------------------------


@group()
def rollout() -> None:
    """Rollouts: a new version takes over step by step, and goes back by itself when it is proven worse."""


@rollout.command("start")
@argument("endpoint")
@argument("model")
@option("--steps", default="10,50,100", show_default=True, help="Shares of the traffic, in percent.")
@option("--min-requests", default=100, show_default=True, help="Requests each side must have answered at a step.")
@option("--min-labels", default=0, show_default=True, help="Labels each side must have at a step.")
@option("--max-error-rate-increase", default=0.01, show_default=True)
@option("--max-latency-ratio", default=2.0, show_default=True, help="Median against median.")
@option("--max-quality-loss", default=0.02, show_default=True, help="Brier score, or share of wrong answers.")
@option("--bake", "bake_s", default=0.0, show_default=True, help="Seconds each step lasts at least.")
@option("--reason", "-m", default="")
@command(example="trine rollout start delays delays@4 --steps 5,25,100")
def start(ws: Workspace, endpoint: str, model: str, steps: str, reason: str, **limits: Any) -> None:
    """Begin to move ENDPOINT to MODEL; its first step serves at once."""
    from trine import serving

    canary = _canary(steps, limits)
    made = serving.start_rollout(endpoint, model, canary=canary, reason=reason, ws=ws)
    text = f"{made.id}  {_progress(made)}"
    if made.state == "running":
        text += f"\nMove it on when it has proven itself: trine rollout advance {made.id[:13]} --wait"
    show(made, text=text)


def _canary(steps: str, limits: dict[str, Any]) -> Canary:
    import msgspec

    from trine.errors import InvalidInput
    from trine.serving import Canary

    shares = [part.strip() for part in steps.split(",")]
    if not all(part.isdigit() for part in shares):
        raise click.UsageError(f'--steps "{steps}" are no percentages: write for instance 10,50,100.')
    try:
        return msgspec.convert({"steps": [int(part) for part in shares], **limits}, Canary)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"These limits make no canary: {error}.") from None


@rollout.command("show")
@argument("id")
@command(example="trine rollout show 0193")
def show_rollout(ws: Workspace, id: str) -> None:
    """A rollout: its moves, and what the guards see now."""
    from trine import serving

    found = serving.get_rollout(id, ws=ws)
    if is_json():
        show(found)
        return
    echo(f"{found.id}  {_progress(found)}")
    print_table(
        ["when", "state", "step", "route", "reason"],
        [[when(m.time_us), m.state.replace("_", " "), m.step + 1, m.route, m.reason] for m in found.moves],
    )
    if found.state == "running":
        action, _, findings = serving.judge_rollout(found, ws=ws)
        now = {"advance": "it may move on", "roll_back": "it has to go back", None: "it waits"}[action]
        echo(f"\nNow: {now}")
        for one in findings:
            echo(f"  {one.outcome:<8}{one.guard:<10}{one.message}")


@rollout.command("advance")
@argument("id")
@option("--wait", is_flag=True, help="Go on until it has ended.")
@option("--every", "every_s", default=5.0, show_default=True, help="Seconds between two looks.")
@option("--timeout", "timeout_s", default=0.0, help="Seconds after which --wait gives up; 0: never.")
@command(example="trine rollout advance 0193 --wait")
def advance(ws: Workspace, id: str, wait: bool, every_s: float, timeout_s: float) -> None:
    """Judge a rollout and move it one step on, back, or not at all. Exits with 5 when it was rolled back."""
    import time

    from trine import serving
    from trine.errors import CheckFailed, Unavailable

    until = time.monotonic() + timeout_s if timeout_s else float("inf")
    found = serving.advance_rollout(id, ws=ws)
    while wait and found.state == "running":
        if time.monotonic() + every_s > until:
            raise Unavailable(f"Rollout {found.id} has not ended after {timeout_s:g} s: {_progress(found)}.")
        time.sleep(every_s)
        found = serving.advance_rollout(found.id, ws=ws)
    if found.state == "rolled_back":
        raise CheckFailed(f"{found.model} was rolled back: {found.reason}.", rollout=found.id)
    waits = ""
    if found.state == "running":
        action, reason, _ = serving.judge_rollout(found, ws=ws)
        waits = f"\n{'It may move on' if action == 'advance' else 'It waits'}: {reason}."
    show(found, text=f"{found.id}  {_progress(found)}{waits}")


@rollout.command("abort")
@argument("id")
@option("--reason", "-m", default="")
@command(example="trine rollout abort 0193 -m 'wrong version'")
def abort(ws: Workspace, id: str, reason: str) -> None:
    """End a rollout: what was served before it serves again."""
    from trine import serving

    found = serving.abort_rollout(id, reason=reason, ws=ws)
    show(found, text=f"{found.id}  {_progress(found)}")


@rollout.command("ls")
@argument("endpoint", default="")
@command(example="trine rollout ls delays")
def list_rollouts(ws: Workspace, endpoint: str) -> None:
    """Rollouts, newest first."""
    from trine import serving

    show(
        serving.list_rollouts(endpoint, ws=ws),
        table=[
            ("rollout", lambda r: r.id),
            ("endpoint", lambda r: r.endpoint),
            ("model", lambda r: r.model),
            ("state", lambda r: r.state.replace("_", " ")),
            ("share", lambda r: f"{r.share} %"),
            ("by", lambda r: r.author),
            ("moved", lambda r: ago(r.updated_us)),
            ("reason", lambda r: r.reason),
        ],
        empty="No rollouts yet. Start one: trine rollout start ENDPOINT MODEL",
    )


def _progress(one: Rollout) -> str:
    if one.state == "running":
        return f"{one.endpoint}: {one.model} has {one.share} % (step {one.step + 1})"
    told = {"promoted": "has all of the traffic", "rolled_back": "was rolled back", "aborted": "was aborted"}
    reason = f": {one.reason}" if one.reason else ""
    return f"{one.endpoint}: {one.model} {told[one.state]}{reason}"


# -- predictions ----------------------------------------------------------------------------------------------------


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


# -- labels ---------------------------------------------------------------------------------------------------------


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
