"""`trine serve` and `trine endpoints`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trine.cli.shell import (
    ago,
    argument,
    command,
    echo,
    group,
    is_json,
    option,
    show,
    single,
    when,
)

if TYPE_CHECKING:
    from trine.serving import Route, Variant
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
