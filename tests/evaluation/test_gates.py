from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from trine import data, evaluation, models
from trine.access import graph
from trine.access.principals import Principal
from trine.errors import CheckFailed, InvalidInput, NotFound, Refused
from trine.evaluation import Gate, compare, evaluate
from trine.evaluation.scoring import base_rate, labelled, score
from trine.evaluation.slices import slices_of
from trine.workspace import Workspace, connect, recording_uses, using

INPUTS = ["a", "b"]


def rows(count: int, seed: int) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "a": draw.normal(size=count),
            "b": draw.normal(size=count),
            "origin": draw.choice(["EWR", "JFK", "LGA"], count),
            "day": draw.integers(0, 40, count),
        }
    )
    late = frame["a"].to_numpy() + frame["b"].to_numpy() + draw.normal(size=count) > 0
    return frame.with_columns(late=pl.Series(late), minutes=frame["a"] * 10 + pl.Series(draw.normal(size=count)))


@pytest.fixture
def two(ws: Workspace) -> None:
    """Version 1 of `delays` knows one column, version 2 both; `holdout` is what they are judged on."""
    frame = rows(500, seed=1)
    late = frame["late"].to_numpy()
    blind = LogisticRegression().fit(frame.select("a", pl.lit(0.0).alias("b")), late)
    models.register(blind, "delays", inputs=frame.select(INPUTS))
    models.register(LogisticRegression().fit(frame.select(INPUTS), late), "delays", inputs=frame.select(INPUTS))
    data.commit(rows(1_500, seed=2), name="holdout")


def test_a_better_model_passes_and_a_worse_one_fails(ws: Workspace, two: None) -> None:
    report = compare("delays@2", "delays@1", "holdout", label="late", gate=Gate(slices=("origin",)))
    assert (report.outcome, report.passed) == ("pass", True)
    assert (report.candidate, report.baseline) == ("delays@2", "delays@1")
    assert report.holdout == data.resolve("holdout").ref
    assert report.low is not None and 0 < report.low < (report.difference or 0) < (report.high or 0)
    assert report.candidate_value == pytest.approx((report.baseline_value or 0) + (report.difference or 0))
    assert "delays@2 is better than delays@1: roc_auc +" in report.reason and "holds on 3 slices" in report.reason
    assert [(one.value, one.outcome) for one in report.slices] == [("EWR", "held"), ("JFK", "held"), ("LGA", "held")]
    back = compare("delays@1", "delays@2", "holdout", label="late")
    assert back.outcome == "fail" and "not good enough" in back.reason
    assert back.difference == pytest.approx(-(report.difference or 0))


@pytest.mark.parametrize("metric", ["accuracy", "f1", "log_loss", "brier", "average_precision", "balanced_accuracy"])
def test_every_metric_counts_better_as_positive(ws: Workspace, two: None, metric: str) -> None:
    report = compare("delays@2", "delays@1", "holdout", label="late", gate=Gate(metric=metric), record=False)
    assert report.outcome == "pass" and (report.difference or 0) > 0
    assert report.id == "" and evaluation.list_gates(ws).items == []


def test_the_same_model_is_never_promoted_over_itself(ws: Workspace, two: None) -> None:
    report = compare("delays@1", "delays@1", "holdout", label="late")
    assert report.outcome == "inconclusive" and "equally well on every row" in report.reason


def test_a_margin_has_to_be_exceeded(ws: Workspace, two: None) -> None:
    gap = compare("delays@2", "delays@1", "holdout", label="late", record=False).difference or 0
    close = compare("delays@2", "delays@1", "holdout", label="late", gate=Gate(margin=round(gap, 3)), record=False)
    assert close.outcome == "inconclusive" and "too close to call" in close.reason and "the margin +" in close.reason
    far = compare("delays@2", "delays@1", "holdout", label="late", gate=Gate(margin=gap + 0.2), record=False)
    assert far.outcome == "fail"


def test_before_there_is_production_the_base_rate_is_the_one_to_beat(ws: Workspace, two: None) -> None:
    report = compare("delays@2", None, "holdout", label="late")
    assert report.outcome == "pass" and report.baseline == "" and report.baseline_value == pytest.approx(0.5)
    assert "better than the base rate" in report.reason
    frame = rows(800, seed=3)
    noise = LogisticRegression().fit(frame.select(INPUTS), np.random.default_rng(0).random(800) < 0.5)
    models.register(noise, "noise", inputs=frame.select(INPUTS))
    for metric in ("log_loss", "brier"):
        assert compare("noise", None, "holdout", label="late", gate=Gate(metric=metric)).outcome != "pass"


def test_a_slice_that_gets_worse_fails_the_gate_whatever_the_whole_says(ws: Workspace) -> None:
    frame = rows(3_000, seed=4)
    harmed = frame["origin"] == "LGA"
    truth = frame["late"].to_numpy()
    inputs = frame.select(INPUTS).with_columns(c=(harmed).cast(pl.Int64))
    flipped = np.where(harmed.to_numpy(), ~truth, truth)
    from sklearn.ensemble import HistGradientBoostingClassifier

    blind = LogisticRegression().fit(inputs.with_columns(b=pl.lit(0.0)), truth)
    models.register(blind, "m", inputs=inputs)
    models.register(HistGradientBoostingClassifier(max_iter=60).fit(inputs, flipped), "m", inputs=inputs)
    judged = rows(3_000, seed=5)
    judged = judged.with_columns(c=(judged["origin"] == "LGA").cast(pl.Int64))
    good = judged.filter((pl.col("origin") != "LGA") | (pl.int_range(pl.len()) % 8 == 0))
    whole = compare("m@2", "m@1", good, label="late", record=False)
    assert whole.outcome == "pass"
    report = compare("m@2", "m@1", good, label="late", gate=Gate(slices=("origin",)), record=False)
    assert report.outcome == "fail" and "worse than m@1 where origin is LGA" in report.reason
    assert {one.value: one.outcome for one in report.slices} == {"EWR": "held", "JFK": "held", "LGA": "worse"}


def test_a_slice_that_is_too_small_to_show_anything_does_not_pass(ws: Workspace, two: None) -> None:
    least = pl.col("b").abs().rank("ordinal") <= 60  # where `b` is next to nothing the two models know the same
    frame = rows(1_500, seed=2).with_columns(part=pl.when(least).then(pl.lit("few")).otherwise(pl.lit("many")))
    gate = Gate(slices=("part",), slice_margin=0.0, metric="accuracy")
    report = compare("delays@2", "delays@1", frame, label="late", gate=gate, record=False)
    assert {part.value: part.outcome for part in report.slices} == {"few": "unsure", "many": "held"}
    assert report.outcome == "inconclusive" and "not shown that it holds where part is few" in report.reason
    fewer = msgspec.structs.replace(gate, min_slice_rows=61)
    report = compare("delays@2", "delays@1", frame, label="late", gate=fewer, record=False)
    assert {part.value: part.outcome for part in report.slices} == {"few": "too small", "many": "held"}
    assert report.outcome == "pass"


def test_groups_count_as_one_observation(ws: Workspace, two: None) -> None:
    report = compare("delays@2", "delays@1", "holdout", label="late", gate=Gate(groups="day"))
    assert (report.groups, report.outcome) == (40, "pass") and "by groups" in report.method
    few = rows(1_500, seed=2).with_columns(day=pl.col("day") % 3)
    report = compare("delays@2", "delays@1", few, label="late", gate=Gate(groups="day"), record=False)
    assert report.outcome == "inconclusive" and '3 groups of "day" are too few' in report.reason
    doubled = pl.concat([rows(300, seed=7)] * 6).with_columns(who=pl.int_range(pl.len()) % 300)
    naive = compare("delays@2", "delays@1", doubled, label="late", record=False)
    honest = compare("delays@2", "delays@1", doubled, label="late", gate=Gate(groups="who"), record=False)
    once = compare("delays@2", "delays@1", doubled.head(300), label="late", record=False)
    width = [(one.high or 0) - (one.low or 0) for one in (naive, honest, once)]
    assert width[0] < 0.5 * width[1] and width[1] == pytest.approx(width[2], rel=0.05)


def test_few_rows_are_never_enough(ws: Workspace, two: None) -> None:
    report = compare("delays@2", "delays@1", rows(99, seed=2), label="late", record=False)
    assert report.outcome == "inconclusive" and "99 labelled rows are fewer than the 100" in report.reason
    one_class = rows(900, seed=2).filter("late")
    report = compare("delays@2", "delays@1", one_class, label="late", record=False)
    assert report.outcome == "inconclusive" and "one class only" in report.reason
    assert report.difference is None


def test_a_candidate_trained_on_the_holdout_does_not_pass(ws: Workspace, two: None) -> None:
    frame = data.load("holdout").collect()
    trained = LogisticRegression().fit(frame.select(INPUTS), frame["late"])
    models.register(trained, "delays", inputs=frame.select(INPUTS), data=data.resolve("holdout"))
    report = compare("delays@3", "delays@1", "holdout", label="late")
    assert report.outcome == "inconclusive" and "delays@3 was trained on holdout@" in report.reason
    against = compare("delays@2", "delays@3", "holdout", label="late")  # the baseline has seen them: only noted
    assert against.notes == (f"delays@3 was trained on {against.holdout}, these very rows, which flatters it.",)


def test_numbers_are_gated_too(ws: Workspace) -> None:
    frame = rows(500, seed=1)
    inputs = frame.select(INPUTS)
    models.register(LinearRegression().fit(inputs.with_columns(a=pl.lit(0.0)), frame["minutes"]), "m", inputs=inputs)
    models.register(LinearRegression().fit(inputs, frame["minutes"]), "m", inputs=inputs)
    for metric in ("mae", "rmse", "r2"):
        report = compare("m@2", "m@1", rows(500, seed=2), label="minutes", gate=Gate(metric=metric, slices=("a:3",)))
        assert report.outcome == "pass" and len(report.slices) == 3
        assert compare("m@2", None, rows(500, seed=2), label="minutes", gate=Gate(metric=metric)).outcome == "pass"
    with pytest.raises(InvalidInput, match="is for classes, this model answers numbers"):
        compare("m@2", "m@1", rows(500, seed=2), label="minutes", gate=Gate(metric="roc_auc"))
    with pytest.raises(InvalidInput, match='Label "origin" is String, m@2 answers numbers'):
        compare("m@2", "m@1", rows(500, seed=2), label="origin", gate=Gate(metric="mae"))


def test_the_report_is_kept_and_in_the_graph(ws: Workspace, two: None) -> None:
    used: list[str] = []
    with recording_uses(used.append, "run:abc"):
        passed = compare("delays@2", "delays@1", "holdout", label="late")
    failed = compare("delays@1", "delays@2", "holdout", label="late")
    assert passed.node == f"gate:{passed.id}"
    assert {"model:delays@1", "model:delays@2", f"dataset:{passed.holdout}"} <= set(used)
    for wanted in (passed.id, passed.node, passed.id[:24]):
        assert evaluation.get_gate(ws, gate_id=wanted) == passed
    edges = {(e.source, e.kind, e.target) for e in graph.lineage(ws, node=passed.node, depth=1).edges}
    assert edges >= {
        (passed.node, "used", "model:delays@2"),
        (passed.node, "used", "model:delays@1"),
        (passed.node, "used", f"dataset:{passed.holdout}"),
        (passed.node, "approved", "model:delays@2"),
        ("run:abc", "produced", passed.node),
    }
    assert not [e for e in graph.lineage(ws, node=failed.node, depth=1).edges if e.kind == "approved"]
    assert [one.id for one in evaluation.list_gates(ws, model="delays").items] == [failed.id, passed.id]
    assert [one.id for one in evaluation.list_gates(ws, model="delays@2").items] == [passed.id]
    assert [one.id for one in evaluation.list_gates(ws, outcome="fail").items] == [failed.id]
    page = evaluation.list_gates(ws, limit=1)
    assert [one.id for one in evaluation.list_gates(ws, limit=1, page=page.next).items] == [passed.id]
    with pytest.raises(NotFound, match='No gate "zz"'):
        evaluation.get_gate(ws, gate_id="zz")
    with pytest.raises(InvalidInput, match="holds no such report"):
        evaluation.record_gate(ws, body=ws.store.put(b"{}"))


def test_a_report_that_is_told_approves_nothing(ws: Workspace, two: None) -> None:
    honest = compare("delays@1", "delays@2", "holdout", label="late")
    assert (honest.outcome, honest.binding) == ("fail", True)
    forged = msgspec.structs.replace(honest, outcome="pass", reason="trust me")
    with pytest.raises(InvalidInput, match="is not told but judged here"):
        evaluation.record_gate(ws, body=ws.store.put(msgspec.json.encode(forged)))
    forged = msgspec.structs.replace(forged, holdout="")
    note = evaluation.record_gate(ws, body=ws.store.put(msgspec.json.encode(forged)))
    assert (note.outcome, note.binding) == ("pass", False)
    with pytest.raises(CheckFailed, match="a note and no gate"):
        models.promote("delays", 1, gate=note.id)
    models.promote("delays", 2)
    models.protect_alias(ws, name="delays", alias="production", approvals=0)
    with pytest.raises(CheckFailed, match="has passed no gate against delays@2"):
        models.promote("delays", 1)
    on_a_frame = compare("delays@2", "delays@1", rows(500, seed=3), label="late")
    assert (on_a_frame.outcome, on_a_frame.binding) == ("pass", False)
    assert not [e for e in graph.lineage(ws, node=on_a_frame.node, depth=1).edges if e.kind == "approved"]


def test_what_takes_long_is_done_before_the_transaction_and_only_for_who_may(local_ws: Workspace) -> None:
    from trine.access import operations as access

    access.create_principal(local_ws, name="user:vera")
    access.grant_role(local_ws, principal_name="user:vera", role="viewer", everywhere=True)
    viewer = local_ws.acting_as(Principal("user:vera"))
    with pytest.raises(Refused):
        evaluation.judge_gate(viewer, candidate="no@1", holdout="nothing", label="y", gate=Gate())
    with pytest.raises(NotFound, match='No dataset "nothing"'):
        evaluation.judge_gate(local_ws, candidate="no@1", holdout="nothing", label="y", gate=Gate())
    with connect(local_ws.location) as other, other.ledger.transaction(write=True), pytest.raises(NotFound):
        evaluation.judge_gate(local_ws, candidate="no@1", holdout="nothing", label="y", gate=Gate())  # waits for nobody


def test_a_server_loads_pickles_only_when_its_owner_says_so(
    local_ws: Workspace, serve: Callable[..., str], admin_token: Callable[[Workspace], str]
) -> None:
    frame = rows(500, seed=1)
    model = LogisticRegression().fit(frame.select(INPUTS), frame["late"])
    models.register(model, "old", inputs=frame.select(INPUTS), flavor="pickle", allow_pickle=True, ws=local_ws)
    data.commit(frame, name="holdout", ws=local_ws)
    token = admin_token(local_ws)
    for allowed in (False, True):
        with using(local_ws), connect(serve(local_ws, allow_pickle=allowed), token=token):
            if allowed:
                assert compare("old@1", None, "holdout", label="late", allow_pickle=True).binding
            else:
                with pytest.raises(Refused, match="start the server with --allow-pickle"):
                    compare("old@1", None, "holdout", label="late", allow_pickle=True)


def test_a_second_look_gives_the_same_figures(ws: Workspace, two: None) -> None:
    gate = Gate(metric="ece", slices=("origin",))
    first, second = (
        compare("delays@2", "delays@1", "holdout", label="late", gate=gate, record=False) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"metric": "auc"}, "no metric"),
        ({"confidence": 1.0}, "confidence is at least"),
        ({"confidence": float("nan")}, "confidence is at least"),
        ({"slice_margin": -0.1}, "slice_margin"),
        ({"margin": float("inf")}, "margin is a number"),
    ],
)
def test_a_gate_that_asks_nonsense_is_refused(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        Gate(**asked)


def test_bad_rows_and_labels_are_named(ws: Workspace, two: None) -> None:
    frame = rows(300, seed=2)
    with pytest.raises(InvalidInput, match=r'no column "lat" of labels\. Did you mean "late"'):
        compare("delays@2", None, frame, label="lat")
    with pytest.raises(InvalidInput, match='None of the 300 rows has a label in "late"'):
        compare("delays@2", None, frame.with_columns(late=pl.lit(None, dtype=pl.Boolean)), label="late")
    with pytest.raises(InvalidInput, match=r"""Row 0, column "origin": '\w+' is none of the classes False, True"""):
        compare("delays@2", None, frame, label="origin")
    with pytest.raises(InvalidInput, match=r'delays@2 cannot be asked about these rows: Column "b".*missing'):
        compare("delays@2", None, frame.drop("b"), label="late")
    with pytest.raises(InvalidInput, match=r'no column "orign" to slice by\. Did you mean "origin"'):
        compare("delays@2", None, frame, label="late", gate=Gate(slices=("orign",)))
    with pytest.raises(InvalidInput, match='no column "dya" of groups'):
        compare("delays@2", None, frame, label="late", gate=Gate(groups="dya"))
    with pytest.raises(NotFound, match="no version 7"):
        compare("delays@7", None, frame, label="late")
    with pytest.raises(NotFound, match='No dataset "holdou"'):
        compare("delays@2", None, "holdou", label="late")
    unsure = frame.with_columns(late=pl.when(pl.int_range(pl.len()) < 50).then(None).otherwise("late"))
    report = compare("delays@2", None, unsure, label="late", record=False)
    assert (report.rows, report.unlabelled) == (250, 50)
    other = frame.with_columns(kind=pl.col("origin"))
    models.register(
        LogisticRegression().fit(other.select(INPUTS), other["kind"].to_numpy()), "kinds", inputs=other.select(INPUTS)
    )
    with pytest.raises(InvalidInput, match="the other model"):
        compare("delays@2", "kinds@1", frame, label="late")


def test_a_model_that_answers_nan_is_not_judged(ws: Workspace) -> None:
    frame = rows(300, seed=2)
    gaps = LinearRegression().fit(frame.select(INPUTS), frame["minutes"])
    gaps.coef_ = gaps.coef_ * float("nan")
    version = models.register(gaps, "gaps", inputs=frame.select(INPUTS), keep_example=0)
    with pytest.raises(
        InvalidInput, match=rf'{version.ref} answered nan in "prediction" to 300 of 300 rows, first to row 0'
    ):
        evaluate("gaps", frame, label="minutes")


def test_models_that_order_their_classes_otherwise_are_compared_by_label(local_ws: Workspace) -> None:
    frame = rows(400, seed=2)
    same = LogisticRegression().fit(frame.select(INPUTS), frame["late"].to_numpy())
    models.register(same, "m", inputs=frame.select(INPUTS))
    loaded = models.load_model("m")
    straight = score(loaded, frame, "late", as_classes=True)
    turned = score(loaded, frame, "late", as_classes=True, classes=(True, False))
    assert np.array_equal(straight.truth, 1 - turned.truth)
    assert straight.shares is not None and turned.shares is not None
    assert np.array_equal(straight.shares, turned.shares[:, ::-1])


def test_an_evaluation_is_kept_with_intervals_and_slices(ws: Workspace, two: None) -> None:
    found = evaluate("delays@2", "holdout", label="late", slices=("origin", "a:3"), resamples=200)
    names = [one.name for one in found.metrics]
    assert names == ["roc_auc", "average_precision", "log_loss", "brier", "ece", "accuracy"]
    for one in itertools.chain(found.metrics, *(part.metrics for part in found.slices)):
        assert one.value is not None and one.low is not None and one.high is not None
        assert one.low < one.high
    auc = found.metric("roc_auc")
    assert auc is not None and auc.low is not None and auc.value is not None and auc.low < auc.value < (auc.high or 0)
    assert [part.column for part in found.slices] == ["origin"] * 3 + ["a"] * 3
    assert sum(part.rows for part in found.slices) == 2 * found.rows
    assert evaluation.get_evaluation(ws, evaluation_id=found.node) == found
    assert evaluation.list_evaluations(ws, model="delays").items == [found]
    nodes = graph.lineage(ws, node=found.node, depth=1).nodes
    assert {"model:delays@2", f"dataset:{found.dataset}"} <= set(nodes)
    again = evaluate("delays@2", "holdout", label="late", slices=("origin", "a:3"), resamples=200, record=False)
    assert again.metrics == found.metrics and again.slices == found.slices
    grouped = evaluate(
        "delays@2", "holdout", label="late", metrics=["brier"], groups="day", resamples=200, record=False
    )
    assert grouped.metrics[0].value == found.metrics[3].value and grouped.groups == "day"


def test_the_constant_that_knows_only_the_base_rate_is_the_best_constant(local_ws: Workspace) -> None:
    from trine.evaluation.metrics import METRICS, Scored

    draw = np.random.default_rng(0)
    truth = (draw.random(500) < 0.3).astype(int)
    classes = Scored(truth, truth, np.eye(2)[truth], (0, 1))
    best = base_rate(classes, "log_loss")
    for share in (truth.mean() - 0.05, truth.mean() + 0.05):
        other = Scored(truth, best.predicted, np.tile([1 - share, share], (500, 1)), (0, 1))
        assert METRICS["log_loss"].value(best) < METRICS["log_loss"].value(other)
    assert set(best.predicted) == {0}
    numbers = Scored(draw.exponential(size=500), np.zeros(500))
    assert METRICS["mae"].value(base_rate(numbers, "mae")) <= METRICS["mae"].value(base_rate(numbers, "rmse"))
    assert METRICS["r2"].value(base_rate(numbers, "r2")) == pytest.approx(0, abs=1e-12)


def test_slices_are_values_or_bins_and_cover_every_row_once() -> None:
    frame = pl.DataFrame(
        {
            "text": ["b", None, "a", "b"] * 30,
            "few": [1, 2, 3, 1] * 30,
            "many": [float(i) if i % 10 else None for i in range(120)],
            "same": [5.0] * 120,
            "nan": [float("nan") if i % 2 else 1.0 for i in range(120)],
        }
    )
    for asked in ("text", "few", "many", "many:3", "same", "same:3", "nan"):
        parts = slices_of(frame, [asked])
        assert (sum(part.rows.astype(int) for part in parts) == 1).all(), asked
    assert [one.value for one in slices_of(frame, ["text"])] == ["a", "b", "missing"]
    assert [one.value for one in slices_of(frame, ["few"])] == ["1", "2", "3"]
    assert [len(slices_of(frame, [asked])) for asked in ("many", "many:3", "same:3", "nan")] == [5, 4, 1, 2]
    with pytest.raises(InvalidInput, match="1,000 different values"):
        slices_of(pl.DataFrame({"id": [f"i{i}" for i in range(1_000)]}), ["id"])
    with pytest.raises(InvalidInput, match="only numbers and times have bins"):
        slices_of(frame, ["text:3"])
    with pytest.raises(InvalidInput, match="after the colon comes a number of bins"):
        slices_of(frame, ["many:0"])


def test_rows_without_a_label_are_counted() -> None:
    found, without = labelled(pl.DataFrame({"y": [1.0, None, float("nan"), 0.0]}), "y")
    assert (found["y"].to_list(), without) == ([1.0, 0.0], 2)


def test_the_gate_as_a_whole_promotes_an_equal_model_one_time_in_twenty_and_a_better_one_mostly() -> None:
    """Through everything `compare` decides: two models of equal worth, each with its own noise, on fresh rows every time."""
    from trine.evaluation.comparison import _judge
    from trine.evaluation.metrics import METRICS, Scored

    def answer(draw: np.random.Generator, signal: Any, truth: Any, noise: float) -> Scored:
        share = 1 / (1 + np.exp(1 - signal - noise * draw.normal(size=len(truth))))
        return Scored(truth, (share > 0.35).astype(int), np.column_stack([1 - share, share]), (0, 1))

    gate = Gate(slices=("part",), slice_margin=0.5)  # slices that always hold: they can only take promotions away
    frame = pl.DataFrame({"part": ["x", "y"] * 150})
    promoted = passed = 0
    for seed in range(2_000):
        draw = np.random.default_rng(seed)
        signal = draw.normal(size=300)
        truth = (draw.random(300) < 1 / (1 + np.exp(1 - signal))).astype(int)
        equal = [answer(draw, signal, truth, 0.7) for _ in range(2)]
        plain = msgspec.structs.replace(gate, slices=())
        promoted += _judge(METRICS["roc_auc"], plain, equal[0], equal[1], frame, ("m@2", "m@1")).passed
        if seed < 150:
            rival = [answer(draw, signal, truth, noise) for noise in (0.1, 2.0)]
            passed += _judge(METRICS["roc_auc"], gate, rival[0], rival[1], frame, ("m@2", "m@1")).passed
    assert promoted <= 0.06 * 2_000
    assert passed >= 0.9 * 150
