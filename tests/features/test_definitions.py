"""Definitions: what they refuse, and what makes two of them equal."""

import datetime as dt

import msgspec
import pytest

from trine.errors import InvalidInput
from trine.features import Entity, FeatureService, FeatureView, count, latest, mean
from trine.features.durations import duration, duration_us

THING = Entity("thing", {"k": str})


def view(**changes):
    options = {"name": "v", "entity": THING, "source": "s", "time": "t", "features": {"x": latest("x")}} | changes
    return FeatureView(options.pop("name"), options.pop("entity"), **options)


def test_equal_definitions_have_equal_hashes_whatever_their_wording():
    one = view(features={"n": count(window="7d"), "x": "x"}, ttl="48h")
    other = view(features={"x": latest("x"), "n": count(window=dt.timedelta(weeks=1))}, ttl="2d", owner="ana")
    assert one.hash == other.hash and one != other


@pytest.mark.parametrize(
    "changes",
    [
        {"ttl": "1h"},
        {"created": "c"},
        {"delay": "1h"},
        {"source": "s@other"},
        {"entity": Entity("thing", {"k": int})},
        {"keys": {"k": "kk"}},
        {"features": {"x": latest("y")}},
        {"features": {"y": latest("x")}},
    ],
)
def test_what_can_change_a_value_changes_the_hash(changes):
    assert view(**changes).hash != view().hash


def test_a_service_survives_json():
    service = FeatureService(
        "s", [view()["x"], view(name="w", features={"y": mean("y", window="1h30m")}).on({"k": "l"}, "l_")]
    )
    again = msgspec.json.decode(msgspec.json.encode(service), type=FeatureService)
    assert again == service and again.hash == service.hash and again.columns == ["x", "l_y"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Entity("e", {}), "has no keys"),
        (lambda: Entity("e", {"k": float}), "keys are str, int, bool or date"),
        (lambda: Entity("e/f", ["k"]), "cannot name an entity"),
        (lambda: view(features={}), "has no features"),
        (lambda: view(features=["x", "x"]), 'names feature "x" twice'),
        (lambda: view(features={"x": 3}), 'write latest("column")'),
        (lambda: view(time=None, ttl="3d"), "has no time column, so ttl"),
        (lambda: view(time=None, features={"n": count(window="1d")}), "has no time column, so n"),
        (lambda: view(ttl="3 days"), '"3 days" is not a length of time'),
        (lambda: view(ttl="0s"), "must be longer than nothing"),
        (lambda: count(window="9999999w"), "longer than any time"),
        (lambda: view(keys={"kk": "x"}), 'Did you mean "k"?'),
        (lambda: view()["xx"], 'has no feature "xx"'),
        (lambda: view().on({"z": "x"}), 'has no key "z"'),
        (lambda: FeatureService("s", []), "has no feature views"),
        (lambda: FeatureService("s", [view(), view(name="w")]), 'gets "x" from view "v" and from view "w"'),
        (
            lambda: FeatureService("s", [view(), view(ttl="1h").on({}, prefix="b_")]),
            'two definitions of view "v"',
        ),
    ],
)
def test_a_definition_that_cannot_be_meant_is_refused(make, message):
    with pytest.raises(InvalidInput) as refused:
        make()
    assert message in refused.value.message


def test_lengths_of_time_have_one_written_form():
    assert duration("24h", "x") == "1d" and duration("90m", "x") == "1h30m" and duration("1500ms", "x") == "1s500ms"
    assert duration_us("1h30m") == 5_400_000_000 and duration_us("") == 0
