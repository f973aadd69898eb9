"""A year of the loop: months arrive one by one, a server answers, monitors judge, the loop retrains or leaves it."""

import sys
from contextlib import suppress

import polars as pl
from flights import CHECKS, INPUTS, arrivals, flights, known, planes, weather
from rich.progress import track
from sklearn.metrics import brier_score_loss, roc_auc_score
from training import LABEL, loop

import trine
from trine import access, monitoring, serving
from trine.errors import Conflict
from trine.features import join_features
from trine.ids import now_us

ASKED, CANARY = 2_000, 400  # flights of a month that are asked about: before it is judged, and while a canary runs


def arrive(tag: str, **frames: pl.DataFrame) -> None:
    """Commit what came; what was there already stays as it is."""
    for name, rows in frames.items():
        with suppress(Conflict):
            trine.dataset(name).commit(rows, tag=tag, checks=CHECKS if name == "flights" else None)


def hire_reviewer(ws: trine.Workspace) -> trine.Workspace:
    """Nothing becomes production unless somebody else approves; this is who does."""
    access.set_policy(ws, name="four-eyes", operation="models.promote_model", when={"alias": "production"})
    with suppress(Conflict):
        access.create_principal(ws, name="user:rita")
    access.grant_role(ws, principal_name="user:rita", role="approver")
    rita = trine.connect(token=access.create_token(ws, principal_name="user:rita", expires_s=3600).text)
    trine.connect()  # and back to ourselves
    return rita


def ask(client: serving.Client, rows: pl.DataFrame, at_once: int = 25) -> None:
    """Send flights to the endpoint, some in a request; their truth follows."""
    ids: list[str] = []
    for part in rows.iter_slices(at_once):
        answers = client.predict("delays", part.select(INPUTS), keys=part["tailnum"].fill_null("?").to_list())
        ids += [one.id for one in answers]
    serving.log_labels("delays", {"prediction_id": ids, "label": rows[LABEL].to_list()})


def turn(rita: trine.Workspace, client: serving.Client | None = None, traffic: pl.DataFrame | None = None):
    """Drive the loop's cycle to its end: Rita approves what passed the gate, traffic carries the canary."""
    parts = iter([] if traffic is None else traffic.iter_slices(40))
    while (cycle := loop.run_until_done(0)) is not None and cycle.is_open:
        if cycle.state == "awaiting":
            access.approve(rita, id=cycle.facts.approval, reason="I read the gate's report")
        elif (part := next(parts, None)) is not None:
            ask(client, part, at_once=1)
        else:
            serving.abort_rollout(cycle.facts.rollout, reason="the month's traffic did not suffice")
    return cycle


def month(number: int, rita: trine.Workspace, client: serving.Client) -> None:
    """Traffic, labels, the commit, the verdict, the loop's decision; kept as a run of experiment "year"."""
    name = f"2013-{number:02d}"
    if trine.tracking.search(f'attributes.name = "{name}" and attributes.state = "finished"'):
        return
    with trine.run("year", name=name, capture=False) as run:
        arrive(name, arrivals=arrivals(number), weather=weather(number))
        joined = join_features(flights(number).drop_nulls(LABEL), known, time="scheduled")
        sample = joined.sample(ASKED + CANARY, seed=2013)
        began, late, serves = now_us(), joined[LABEL], trine.models.resolve("delays@production").ref
        ask(client, sample.head(ASKED).sort("scheduled"))
        arrive(name, flights=flights(number))
        verdict = monitoring.check("delays", began, now_us() + 1)
        cycle = turn(rita, client, sample.tail(CANARY))
        for who, version in (("frozen", "delays@1"), ("looped", serves)):
            chance = trine.models.load_model(version).predict(joined.select(INPUTS))["probability"]
            run.log({f"{who}.auc": roc_auc_score(late, chance), f"{who}.brier": brier_score_loss(late, chance)})
        run.log({"asked": len(serving.predictions("delays", began)), "late": late.mean()})
        run.tags({"verdict": verdict.outcome, "moved": ", ".join(verdict.moved[:3]), "version": serves})
        run.tags({"outcome": cycle.outcome if cycle else "", "decision": cycle.reason if cycle else "nothing to do"})


def main(months: int) -> None:
    rita = hire_reviewer(ws := trine.connect())
    arrive("2013", planes=planes())
    for number in (1, 2):
        arrive(f"2013-{number:02d}", arrivals=arrivals(number), weather=weather(number), flights=flights(number))
    loop.save()
    if not loop.cycles():
        loop.trigger("the first model")
    turn(rita)
    monitoring.create_monitor(ws, name="delays", subject="endpoint:delays", reference="model:delays@production")
    with serving.running("delays") as client:
        for number in track(range(3, months + 1), "the year, month by month"):
            month(number, rita, client)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]) if sys.argv[1:] else 12)
    except KeyboardInterrupt:
        sys.exit(130)
