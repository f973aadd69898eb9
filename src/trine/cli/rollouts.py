"""`trine rollout`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trine.cli.shell import ago, argument, command, echo, group, is_json, option, print_table, show, when

if TYPE_CHECKING:
    from trine.serving import Canary, Rollout
    from trine.workspace import Workspace


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
