"""`trine ladder` and `trine metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trine.cli.shell import command, moment_us, option, show, single, when

if TYPE_CHECKING:
    from trine.insights import Ladder, Metric, Metrics, Standing
    from trine.workspace import Workspace


@single("ladder")
@option("--model", default="", help="Only this model.")
@option("--repository", default=".", help="A folder in the git work tree of the training code.", show_default=True)
@command(example="trine ladder\ntrine ladder --model delays")
def ladder(ws: Workspace, model: str, repository: str) -> None:
    """Which phase each model has reached, what shows it, what is missing, and the one command to type next."""
    from trine import insights

    found = insights.ladder(model=model, repository=repository, ws=ws)
    show(
        {
            "repository": found.repository,
            "models": [
                {"model": one.model, "version": one.version, "phase": one.phase, "next": one.next, "rungs": one.rungs}
                for one in found.models
            ],
        },
        text=ladder_text(found),
    )


def ladder_text(found: Ladder) -> str:
    """The ladder for people."""
    return "\n\n".join(_standing(one) for one in found.models)


def _standing(one: Standing) -> str:
    from trine.insights.rungs import PHASES

    reached = f"has reached {one.phase}" if one.phase != "start" else "is at the start"
    lines = [f"{f'{one.model}@{one.version}' if one.model else 'This project'} {reached}", ""]
    width = max(len(rung.name) for rung in one.rungs)
    for phase, about in PHASES.items():
        rungs = [rung for rung in one.rungs if rung.phase == phase]
        if not rungs:
            continue
        lines.append(f"{phase}: {about}")
        lines += [
            f"  {'✓' if rung.reached else '·'} {rung.name.ljust(width)}  {rung.evidence}".rstrip() for rung in rungs
        ]
    following = one.next or ("" if one.model else 'trine.models.register(model, "NAME", inputs=rows)')
    lines += ["", *([] if one.model else ["There are no models yet."]), *([f"Next: {following}"] if following else [])]
    return "\n".join(lines)


@single("metrics")
@option("--since", default="", help="From when on, for instance 2026-01-31; default: everything.")
@option("--model", default="", help="Only this model.")
@option("--repository", default=".", help="A folder in the git work tree of the training code.", show_default=True)
@command(example="trine metrics\ntrine metrics --since 2026-01-31 --model delays --json")
def metrics(ws: Workspace, since: str, model: str, repository: str) -> None:
    """Delivery metrics of models and code: training time, deployment frequency, success and failure rates, times."""
    from trine import insights
    from trine.ids import to_datetime

    since_us = moment_us(since)
    start = to_datetime(since_us) if since_us is not None else None
    found = insights.metrics(since=start, model=model, repository=repository, ws=ws)
    show(found, text=metrics_text(found))


def metrics_text(found: Metrics) -> str:
    """The metrics for people."""
    width = max(len(one.name) for one in found.metrics)
    lines = [f"{found.model or 'All models'}, {when(found.since_us)} to {when(found.until_us)} UTC", ""]
    for one in found.metrics:
        name = one.name.replace("_", " ")
        lines.append(f"{name.ljust(width)}  {_value(one):>16}  {_beside(one)}")
    return "\n".join(lines)


def _value(one: Metric) -> str:
    if one.value is None:
        return "null"
    if one.unit == "share":
        return f"{one.value:.0%}"
    return _duration(one.value) if one.unit == "s" else f"{one.value:.2g} {one.unit}"


def _beside(one: Metric) -> str:
    if one.value is None:
        return one.reason
    return f"n = {one.count}" + (f", p90 {_duration(one.p90)}" if one.p90 is not None else "")


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"
