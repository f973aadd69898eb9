"""`trine models`."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from trine.cli.shell import ago, argument, command, echo, group, is_json, option, print_table, show, when

if TYPE_CHECKING:
    from trine.evaluation import Evaluation, GateReport
    from trine.models import AliasEvent, ModelVersion
    from trine.workspace import Workspace

MODEL = "NAME[@VERSION|@ALIAS]"
NO_MODELS = 'No models yet. Register one from Python: trine.models.register(model, "NAME", inputs=rows)'


@group()
def models() -> None:
    """Registered models: versions, aliases and the gates they passed."""


@models.command("ls")
@command(example="trine models ls")
def list_(ws: Workspace) -> None:
    """Models with their newest versions and aliases."""
    from trine.models import operations

    show(
        operations.list_models(ws, limit=1000),
        table=[
            ("model", lambda m: m.name),
            ("versions", lambda m: m.versions),
            ("newest", lambda m: m.newest or None),
            ("aliases", lambda m: [f"{alias}={version}" for alias, version in m.aliases.items()]),
            ("about", lambda m: m.description),
        ],
        empty=NO_MODELS,
    )


@models.command("versions")
@argument("name")
@option("--limit", default=50, show_default=True)
@command(example="trine models versions delays")
def versions(ws: Workspace, name: str, limit: int) -> None:
    """Versions of a model, newest first."""
    from trine.models import operations

    show(
        operations.list_versions(ws, name=name, limit=limit),
        table=[
            ("version", lambda v: v.version),
            ("aliases", lambda v: list(v.aliases)),
            ("kind", _kind),
            ("data", lambda v: v.data.removeprefix("dataset:")),
            ("run", lambda v: v.run[:12]),
            ("metrics", lambda v: [f"{key}={value:.4g}" for key, value in v.metrics.items()]),
            ("by", lambda v: v.author),
            ("made", lambda v: ago(v.created_us)),
        ],
        empty=f"Model {name} has no version left.",
    )


def _kind(version: ModelVersion) -> str:
    return (version.estimator or version.flavor) + (" (pickled)" if version.pickled else "")


@models.command("show")
@argument("ref", metavar=MODEL)
@command(example="trine models show delays@production")
def show_(ws: Workspace, ref: str) -> None:
    """One version: what it takes and answers, where it came from."""
    from trine.models import resolve

    found = resolve(ref, ws=ws)
    if is_json():
        show(found)
        return
    facts = {
        "version": found.ref,
        "aliases": ", ".join(found.aliases),
        "kind": _kind(found),
        "classes": ", ".join(map(str, found.classes)),
        "about": found.description,
        "tags": ", ".join(f"{key}={value}" for key, value in found.tags.items()),
        "metrics": ", ".join(f"{key}={value:.4g}" for key, value in found.metrics.items()),
        "run": found.run,
        "data": found.data,
        "artifact": f"{found.artifact[:12]}  {found.size_bytes:,} bytes",
        "libraries": ", ".join(f"{name} {version}" for name, version in found.libraries.items()),
        "registered": f"{when(found.created_us)} by {found.author}",
    }
    for label, value in facts.items():
        if value:
            echo(f"{label.ljust(11)} {value}")
    echo()
    rows = [
        ["takes", one.name, one.dtype, "required" if one.required else "optional"] for one in found.signature.inputs
    ]
    rows += [["answers", one.name, one.dtype, ""] for one in found.signature.outputs]
    print_table(["", "column", "type", ""], rows)


@models.command("promote")
@argument("ref", metavar="NAME@VERSION")
@option("--alias", default="production", show_default=True)
@option("--gate", default="", help="The gate report that this version passed.")
@option("--expect", type=int, help="Only when the alias points at this version now (0: at none yet).")
@option("--reason", "-m", default="", help="Why; kept in the history.")
@command(example="trine models promote delays@4 -m 'better on May'\ntrine models promote delays@4 --gate 0192f3")
def promote(ws: Workspace, ref: str, alias: str, gate: str, expect: int | None, reason: str) -> None:
    """Point an alias at a version."""
    from trine.errors import InvalidInput
    from trine.models import promote as move
    from trine.models.versions import split_ref

    if "@" not in ref:
        raise InvalidInput(f"Which version of {ref}? Write {ref}@VERSION; see: trine models versions {quote(ref)}")
    name, version = split_ref(ref)
    if gate:
        from trine.evaluation import operations as evaluation

        gate = evaluation.get_gate(ws, gate_id=gate).node
    _moved(move(name, version, alias=alias, expect=expect, reason=reason, gate=gate, ws=ws))


@models.command("rollback")
@argument("name")
@option("--alias", default="production", show_default=True)
@option("--reason", "-m", default="", help="Why; kept in the history.")
@command(example="trine models rollback delays -m 'errors in checkout'")
def rollback(ws: Workspace, name: str, alias: str, reason: str) -> None:
    """Point an alias at the version before the present one; again goes further back."""
    from trine.models import rollback as back

    _moved(back(name, alias=alias, reason=reason, ws=ws))


@models.command("unalias")
@argument("name")
@argument("alias")
@option("--reason", "-m", default="", help="Why; kept in the history.")
@command(example="trine models unalias delays challenger")
def unalias(ws: Workspace, name: str, alias: str, reason: str) -> None:
    """Let an alias point at nothing; its history stays."""
    from trine.models import operations

    _moved(operations.remove_alias(ws, name=name, alias=alias, reason=reason))


def _moved(event: AliasEvent) -> None:
    now = f"{event.name}@{event.version}" if event.version is not None else "nothing"
    before = f"; before: {event.name}@{event.before}" if event.before is not None else ""
    show(event, text=f"{event.alias} of {event.name} is {now}{before}")


@models.command("history")
@argument("name")
@option("--alias", default="", help="Only this alias.")
@option("--limit", default=50, show_default=True)
@command(example="trine models history delays --alias production")
def history(ws: Workspace, name: str, alias: str, limit: int) -> None:
    """Where a model's aliases pointed and why, newest first."""
    from trine.models import operations

    show(
        operations.list_alias_events(ws, name=name, alias=alias, limit=limit),
        table=[
            ("when", lambda e: when(e.time_us)),
            ("alias", lambda e: e.alias),
            ("what", lambda e: e.kind.replace("_", " ")),
            ("version", lambda e: e.version),
            ("before", lambda e: e.before),
            ("by", lambda e: e.author),
            ("gate", lambda e: e.gate.removeprefix("gate:")[:12]),
            ("reason", lambda e: e.reason),
        ],
        empty=f"No alias of {name} has moved yet. Promote a version: trine models promote {quote(name + '@VERSION')}",
    )


@models.command("edit")
@argument("ref", metavar="NAME[@VERSION]")
@option("--description", help="New words about it.")
@option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Set a tag; KEY= removes it. May be repeated.")
@command(example="trine models edit delays@4 --description 'with weather' --tag owner=ops")
def edit(ws: Workspace, ref: str, description: str | None, tags: tuple[str, ...]) -> None:
    """Change the description and tags of a model, or of one version."""
    from trine.errors import InvalidInput
    from trine.models import operations, resolve

    for tag in tags:
        if not tag.partition("=")[0] or "=" not in tag:
            raise InvalidInput(f'"{tag}" is no tag: write KEY=VALUE.')
    wanted: dict[str, str | None] = {key: value or None for key, _, value in (tag.partition("=") for tag in tags)}
    if "@" in ref:
        found = resolve(ref, ws=ws)
        done: Any = operations.update_version(
            ws, name=found.name, version=found.version, description=description, tags=wanted
        )
    else:
        done = operations.update_model(ws, name=ref, description=description, tags=wanted)
    show(done, text=f"Changed {ref}.")


@models.command("rm")
@argument("ref", metavar="NAME@VERSION")
@option("--yes", is_flag=True, help="Do not ask.")
@command(example="trine models rm delays@2")
def remove(ws: Workspace, ref: str, yes: bool) -> None:
    """Forget a version that no alias points at."""
    from trine.errors import InvalidInput
    from trine.models import operations, resolve

    if "@" not in ref:
        raise InvalidInput(f"Which version of {ref}? Write {ref}@VERSION; see: trine models versions {quote(ref)}")
    found = resolve(ref, ws=ws)
    if not yes:
        click.confirm(f"Forget {found.ref}?", abort=True, err=True)
    done = operations.delete_version(ws, name=found.name, version=found.version)
    show(done, text=f"Forgot {found.ref}.")


# -- evaluations and gates ------------------------------------------------------------------------------------------


@models.command("evaluate")
@argument("ref", metavar=MODEL)
@argument("rows", metavar="DATASET[@REF]")
@option("--label", required=True, help="The column of truth.")
@option("--metric", "metrics", multiple=True, help="May be repeated; default: what fits the model.")
@option("--slice", "slices", multiple=True, metavar="COLUMN[:BINS]", help="Also by this column. May be repeated.")
@option("--groups", default="", help="Column of what belongs together: drawn together.")
@option("--confidence", default=0.95, show_default=True)
@command(example="trine models evaluate delays@4 flights@may --label late --slice origin")
def evaluate(
    ws: Workspace,
    ref: str,
    rows: str,
    label: str,
    metrics: tuple[str, ...],
    slices: tuple[str, ...],
    groups: str,
    confidence: float,
) -> None:
    """A version's metrics on labelled rows, with confidence intervals; the report is kept."""
    from trine.evaluation import evaluate as measure

    _show_evaluation(
        measure(ref, rows, label=label, metrics=metrics, slices=slices, groups=groups, confidence=confidence, ws=ws)
    )


@models.command("gate")
@argument("candidate", metavar=MODEL)
@argument("rows", metavar="DATASET[@REF]")
@option("--label", required=True, help="The column of truth.")
@option("--baseline", default="", metavar=MODEL, help="Default: production, or the base rate when there is none yet.")
@option("--metric", default="roc_auc", show_default=True)
@option("--margin", default=0.0, show_default=True, help="How much better it has to be.")
@option("--slice", "slices", multiple=True, metavar="COLUMN[:BINS]", help="Must hold here too. May be repeated.")
@option("--slice-margin", type=float, help="How much worse a slice may be; default 0.02, for losses 5 %.")
@option("--groups", default="", help="Column of what belongs together: counts as one observation.")
@option("--confidence", default=0.95, show_default=True)
@option("--min-rows", default=100, show_default=True, help="Fewer rows are never enough.")
@command(example="trine models gate delays@4 flights@may --label late --slice origin --margin 0.005")
def gate(
    ws: Workspace, candidate: str, rows: str, label: str, baseline: str, slices: tuple[str, ...], **asked: Any
) -> None:
    """Is a version better than production, on the same rows? Ends with exit code 5 unless it passes."""
    from trine.errors import CheckFailed
    from trine.evaluation import Gate, compare
    from trine.models.versions import split_ref

    name = split_ref(candidate)[0]
    other = baseline or _production(ws, name)
    report = compare(candidate, other, rows, label=label, gate=Gate(slices=slices, **asked), ws=ws)
    _show_gate(report)
    if not report.passed:
        raise click.exceptions.Exit(CheckFailed.exit_code)
    echo(f"\nPromote it: trine models promote {quote(report.candidate)} --gate {report.id}")


def _production(ws: Workspace, name: str) -> str | None:
    from trine.models import operations

    return f"{name}@production" if "production" in operations.get_model(ws, name=name).aliases else None


@models.command("gates")
@argument("name", metavar="[NAME[@VERSION]]", required=False, default="")
@option("--outcome", type=click.Choice(["pass", "fail", "inconclusive"]), help="Only these.")
@option("--limit", default=50, show_default=True)
@command(example="trine models gates delays")
def gates(ws: Workspace, name: str, outcome: Any, limit: int) -> None:
    """Reports of gates, newest first."""
    from trine.evaluation import operations

    show(
        operations.list_gates(ws, model=name, outcome=outcome, limit=limit),
        table=[
            ("gate", lambda g: g.id),
            ("outcome", lambda g: g.outcome),
            ("candidate", lambda g: g.candidate),
            ("baseline", lambda g: g.baseline or "base rate"),
            ("metric", lambda g: g.metric),
            ("difference", lambda g: _signed(g.difference)),
            ("bounds", lambda g: _bounds(g.low, g.high)),
            ("rows", lambda g: g.rows),
            ("when", lambda g: ago(g.created_us)),
        ],
        empty="No gates yet. Judge a version: trine models gate NAME@VERSION DATASET --label COLUMN",
    )


@models.command("evaluations")
@argument("name", metavar="[NAME]", required=False, default="")
@option("--limit", default=50, show_default=True)
@command(example="trine models evaluations delays")
def evaluations(ws: Workspace, name: str, limit: int) -> None:
    """Evaluations, newest first."""
    from trine.evaluation import operations

    show(
        operations.list_evaluations(ws, model=name, limit=limit),
        table=[
            ("evaluation", lambda e: e.id),
            ("model", lambda e: e.model),
            ("rows", lambda e: f"{e.rows:,} of {e.dataset or 'a frame'}"),
            ("metrics", lambda e: [f"{one.name}={_number(one.value)}" for one in e.metrics]),
            ("when", lambda e: ago(e.created_us)),
        ],
        empty="No evaluations yet. Make one: trine models evaluate NAME@VERSION DATASET --label COLUMN",
    )


@models.command("report")
@argument("identity", metavar="GATE|EVALUATION")
@command(example="trine models report gate:0192f3a1")
def report(ws: Workspace, identity: str) -> None:
    """One report of a gate or an evaluation, by its id or the beginning of it."""
    from trine.errors import NotFound
    from trine.evaluation import operations

    if identity.startswith("evaluation:"):
        _show_evaluation(operations.get_evaluation(ws, evaluation_id=identity))
        return
    try:
        found = operations.get_gate(ws, gate_id=identity)
    except NotFound:
        if identity.startswith("gate:"):
            raise
        try:
            _show_evaluation(operations.get_evaluation(ws, evaluation_id=identity))
            return
        except NotFound:
            raise NotFound(
                f'No gate and no evaluation "{identity}". See: trine models gates, trine models evaluations'
            ) from None
    _show_gate(found)


def _show_gate(found: GateReport) -> None:
    if is_json():
        show(found)
        return
    click.secho(found.outcome.upper(), bold=True, fg=_COLOURS[found.outcome], nl=False)
    echo(f"  {found.reason}\n")
    unlabelled = f", {found.unlabelled:,} more without a label" if found.unlabelled else ""
    groups = f" in {found.groups:,} groups of {found.gate.groups}" if found.groups is not None else ""
    echo(f"rows        {found.rows:,} of {found.holdout or 'a frame'}{groups}{unlabelled}; label {found.label}")
    echo(
        f"method      {found.method or 'none'}; bounds hold with {found.gate.confidence * 100:.4g} % confidence each; margin {found.gate.margin:g}"
    )
    if found.id:
        echo(f"gate        {found.id}")
    echo()
    candidate, baseline = found.candidate, found.baseline or "base rate"
    rows: list[Sequence[Any]] = [
        ["all rows", f"{found.rows:,}", *_compared(found), f"p = {found.p:.2g}" if found.p is not None else ""]
    ]
    rows += [
        [f"{one.column} = {one.value}", f"{one.rows:,}", *_compared(one, one.candidate, one.baseline), one.outcome]
        for one in found.slices
    ]
    print_table([found.metric, "rows", candidate, baseline, "difference", "bounds", ""], rows)
    unbound = () if found.binding else ("on rows that are no dataset commit, so it opens no protected alias.",)
    for note in (*found.notes, *unbound):
        click.secho(f"note: {note}", fg="yellow")


_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def _compared(one: Any, candidate: float | None = None, baseline: float | None = None) -> list[str]:
    candidate = getattr(one, "candidate_value", candidate)
    baseline = getattr(one, "baseline_value", baseline)
    return [_number(candidate), _number(baseline), _signed(one.difference), _bounds(one.low, one.high)]


def _show_evaluation(found: Evaluation) -> None:
    if is_json():
        show(found)
        return
    unlabelled = f", {found.unlabelled:,} more without a label" if found.unlabelled else ""
    echo(f"{found.model} on {found.rows:,} rows of {found.dataset or 'a frame'}{unlabelled}; label {found.label}")
    echo(f"{found.confidence * 100:.4g} % intervals, BCa bootstrap, {found.resamples:,} samples, seed {found.seed}")
    if found.id:
        echo(f"evaluation {found.id}")
    echo()
    parts = [("all rows", found.rows, found.metrics)]
    parts += [(f"{one.column} = {one.value}", one.rows, one.metrics) for one in found.slices]
    rows = [
        [name if first else "", part, f"{count:,}", _number(one.value), _bounds(one.low, one.high)]
        for name in (one.name for one in found.metrics)
        for first, part, count, metrics in ((part is parts[0], *part) for part in parts)
        for one in metrics
        if one.name == name
    ]
    print_table(["metric", "on", "rows", "value", "interval"], rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4g}"


def _bounds(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{low:.4g}, {high:.4g}]"


from trine.cli import registry as registry  # noqa: E402 (its commands are of this group)
