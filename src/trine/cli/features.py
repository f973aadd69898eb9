"""`trine features`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trine.cli.shell import ago, argument, command, counted, echo, group, moment_us, option, show, when

if TYPE_CHECKING:
    from trine.workspace import Workspace


@group()
def features() -> None:
    """Feature views: definitions, freshness, online values."""


@features.command("apply")
@argument("place", metavar="FILE.py|MODULE")
@command(example="trine features apply flights.py")
def apply(ws: Workspace, place: str) -> None:
    """Register the feature views and services that a Python file or module defines; says what is new."""
    from trine import features as room
    from trine.errors import InvalidInput
    from trine.pipelines.places import load_place

    found = [
        each for each in vars(load_place(place)).values() if isinstance(each, (room.FeatureView, room.FeatureService))
    ]
    if not found:
        raise InvalidInput(f"{place} defines no feature views and no services at its top level.")
    show(
        room.apply(*found, ws=ws),
        table=[
            ("kind", lambda r: r.kind),
            ("name", lambda r: f"{r.name}@{r.version}"),
            ("definition", lambda r: r.hash[:12]),
        ],
    )


@features.command("training-set")
@argument("service", metavar="SERVICE[@VERSION]")
@argument("spine", metavar="DATASET[@REF]")
@option("--name", required=True, help="The dataset to commit it to.")
@option("--time", default="", help="The spine's time column, where it has more than one.")
@option("--label", default="", help="The column of truth; rows without it are left out.")
@option("--message", "-m", default="", help="What this version is.")
@option("--tag", default="", help="Also name this version for good.")
@command(example="trine features training-set delays flights@2013-03 --name delays-train --time scheduled --label late")
def training_set(
    ws: Workspace, service: str, spine: str, name: str, time: str, label: str, message: str, tag: str
) -> None:
    """Join a service's features to a dataset's rows, as they were known at each row's time, and commit the result."""
    from trine import features as room

    made = room.training_set(spine, service, name=name, time=time, label=label, message=message, tag=tag, ws=ws)
    show(made, text=f"{made.ref}  {counted(made.rows or 0, 'row')}, {counted(len(made.schema), 'column')}")


@features.command("ls")
@command(example="trine features ls")
def list_(ws: Workspace) -> None:
    """Feature views with their newest versions."""
    from trine.features import operations

    show(
        operations.list_views(ws, limit=1000),
        table=[
            ("view", lambda v: f"{v.name}@{v.version}"),
            ("entity", lambda v: v.definition.entity.name),
            ("source", lambda v: v.definition.source),
            ("features", lambda v: [feature.name for feature in v.definition.features]),
            ("by", lambda v: v.author),
            ("made", lambda v: ago(v.created_us)),
        ],
        empty="No feature views yet. Define some in Python, then: trine features apply FILE.py",
    )


@features.command("services")
@command(example="trine features services")
def services(ws: Workspace) -> None:
    """Feature services with their newest versions."""
    from trine.features import operations

    show(
        operations.list_services(ws, limit=1000),
        table=[
            ("service", lambda s: f"{s.name}@{s.version}"),
            ("views", lambda s: [view.name for view in s.definition.views]),
            ("features", lambda s: s.definition.columns),
            ("by", lambda s: s.author),
            ("made", lambda s: ago(s.created_us)),
        ],
        empty="No feature services yet. Define one in Python, then: trine features apply FILE.py",
    )


@features.command("show")
@argument("name", metavar="NAME[@VERSION]")
@command(example="trine features show weather@2")
def show_(ws: Workspace, name: str) -> None:
    """One feature view: where its rows come from, and how each feature is computed."""
    from trine.cli.shell import is_json, print_table
    from trine.features import operations
    from trine.features.registry import reference

    named, version = reference(name, "feature view")
    found = operations.get_view(ws, name=named, version=version)
    if is_json():
        show(found)
        return
    view = found.definition
    facts = {
        "version": f"{view.name}@{found.version}  {found.hash[:12]}",
        "entity": f"{view.entity.name} ({', '.join(view.entity.keys)})",
        "source": view.source,
        "time": view.time or "none: the last row per key always holds",
        "known at": (view.created or view.time or "") + (f" + {view.delay}" if view.delay else ""),
        "time to live": view.ttl,
        "fresh within": view.freshness,
        "owner": view.owner,
        "about": view.description,
        "registered": f"{when(found.created_us)} by {found.author}",
    }
    for label, value in facts.items():
        if value:
            echo(f"{label.ljust(13)} {value}")
    print_table(
        ["feature", "how", "column", "window", "where"],
        [[each.name, each.how, each.column, each.window, each.where] for each in view.features],
    )


@features.command("freshness")
@argument("view", required=False, default="")
@command(example="trine features freshness")
def freshness(ws: Workspace, view: str) -> None:
    """How old the newest rows are, in each view's dataset and online."""
    from trine.features import operations

    show(
        operations.freshness(ws, view=view),
        table=[
            ("view", lambda f: f"{f.view}@{f.version}"),
            ("state", lambda f: f.state),
            ("newest in source", lambda f: when(f.source_newest_us)),
            ("age", lambda f: _age(f.source_age_s)),
            ("newest online", lambda f: when(f.online_newest_us)),
            ("age online", lambda f: _age(f.online_age_s)),
            ("allowed", lambda f: f.allowed or "–"),
        ],
        empty="No feature views yet. Define some in Python, then: trine features apply FILE.py",
    )


@features.command("materialize")
@argument("views", nargs=-1, required=True, metavar="VIEW...")
@option("--until", default="", help="As known at that time (ISO 8601, UTC); default: now.")
@command(example="trine features materialize weather --until 2013-03-01")
def materialize(ws: Workspace, views: tuple[str, ...], until: str) -> None:
    """Fill the online store with views, from the newest commits of their datasets."""
    from trine.features.online_store import materialize as fill

    moment = _moment(until)
    made = [fill(view, moment, ws=ws) for view in views]
    show(
        made,
        table=[
            ("view", lambda p: f"{p.view}@{p.version}"),
            ("keys", lambda p: p.rows),
            ("known until", lambda p: when(p.until_us)),
            ("newest row", lambda p: when(p.newest_us)),
            ("source", lambda p: p.source),
        ],
    )


@features.command("get")
@argument("service")
@argument("keys", nargs=-1, required=True, metavar="KEY=VALUE...")
@option("--as-of", default="", help="At that time (ISO 8601, UTC); default: now.")
@command(example="trine features get delays origin=JFK carrier=UA")
def get(ws: Workspace, service: str, keys: tuple[str, ...], as_of: str) -> None:
    """The online values of a service's features for one set of keys."""
    from trine.features.online_store import online
    from trine.features.registry import service_of

    found = service_of(service, ws)
    kinds = {
        column: kind
        for selection in found.selections
        for column, kind in zip(selection.spine_keys, selection.view.entity.keys.values(), strict=True)
    }
    row = {name: _typed(value, kinds.get(name, "")) for name, value in map(_pair, keys)}
    show(online(found, [row], _moment(as_of), ws=ws)[0])


def _pair(text: str) -> tuple[str, str]:
    from trine.errors import InvalidInput

    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f'"{text}" is no key: write column=value, for instance origin=JFK.')
    return name, value


def _typed(text: str, kind: str) -> Any:
    """A key from the command line as the type its entity says; whole numbers stay text only where a text is wanted."""
    import datetime as dt

    from trine.errors import InvalidInput

    try:
        if kind == "int" or (kind == "" and text.lstrip("-").isdigit()):
            return int(text)
        if kind == "date":
            return dt.date.fromisoformat(text)
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
    except (KeyError, ValueError) as error:
        raise InvalidInput(f'"{text}" is no {kind}.') from error
    return text


def _moment(text: str) -> Any:
    from trine.ids import to_datetime

    at = moment_us(text)
    return None if at is None else to_datetime(at)


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
