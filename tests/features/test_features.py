"""Definitions, training sets and online reads through the door: embedded, on PostgreSQL, and through a server."""

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from trine import data, features
from trine.errors import InvalidInput, NotFound
from trine.features import Entity, FeatureService, FeatureView, count, latest, mean, operations
from trine.features.online_file import OnlineFile
from trine.workspace import recording_uses

DAY = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)


def hour(number):
    return DAY + dt.timedelta(hours=number)


AIRPORT = Entity("airport", {"origin": str})
CARRIER = Entity("carrier", {"carrier": str})
PLANE = Entity("plane", {"tailnum": str})

WEATHER = FeatureView(
    "weather", AIRPORT, source="weather", time="at", ttl="3h", features=["temp", "wind"], freshness="2h"
)
DELAYS = FeatureView(
    "carrier_delays",
    CARRIER,
    source="flights",
    time="scheduled",
    created="arrived",
    features={"delay_rate_7d": mean("late", window="7d"), "flights_7d": count(window="7d")},
)
PLANES = FeatureView("planes", PLANE, source="planes", time=None, features={"built": latest("year")})
SERVICE = FeatureService("delays", [WEATHER[["temp"]], DELAYS, PLANES])

FLIGHTS = pl.DataFrame(
    {
        "origin": ["JFK", "EWR", "JFK", "JFK"],
        "carrier": ["UA", "UA", "AA", "UA"],
        "tailnum": ["N1", "N2", None, "N9"],
        "scheduled": [hour(1), hour(2), hour(9), hour(9)],
        "arrived": [hour(4), hour(10), hour(12), hour(15)],
        "late": [True, False, True, False],
    }
)


@pytest.fixture
def committed(ws):
    """A workspace with the flights, their weather and their planes."""
    weather = {
        "origin": ["JFK", "JFK", "EWR"],
        "at": [hour(1), hour(8), hour(2)],
        "temp": [1.0, 8.0, 2.0],
        "wind": [0.5] * 3,
    }
    data.commit(pl.DataFrame(weather), name="weather", ws=ws)
    data.commit(FLIGHTS, name="flights", ws=ws)
    data.commit(pl.DataFrame({"tailnum": ["N1", "N2"], "year": [1999, 2004]}), name="planes", ws=ws)
    return ws


@pytest.fixture
def local(local_ws):
    weather = {"origin": ["JFK", "JFK"], "at": [hour(1), hour(8)], "temp": [1.0, 8.0], "wind": [0.5, 0.6]}
    data.commit(pl.DataFrame(weather), name="weather", ws=local_ws)
    return local_ws


EXPECTED = {
    "temp": [1.0, 2.0, 8.0, 8.0],
    "delay_rate_7d": [None, None, None, 1.0],
    "flights_7d": [0, 0, 0, 1],
    "built": [1999, 2004, None, None],
}


def test_a_training_set_is_a_dataset_commit_that_knows_its_sources_and_definitions(committed):
    commit = features.training_set("flights", SERVICE, name="train", time="scheduled", label="late", ws=committed)
    got = data.load(commit.ref, ws=committed).collect()
    assert got.select(FLIGHTS.columns).equals(FLIGHTS)
    assert got.select(SERVICE.columns).to_dict(as_series=False) == EXPECTED

    from trine.access.graph import lineage

    above = lineage(committed, node=commit.node, direction="up")
    text = str(above)
    for source in ("flights", "weather", "planes"):
        assert data.resolve(source, ws=committed).node in text
    for node in ("feature_view:weather@1", "feature_view:carrier_delays@1", "feature_service:delays@1"):
        assert node in text


def test_online_gives_what_training_gave(committed):
    features.apply(SERVICE, ws=committed)
    until = hour(9)
    for view in SERVICE.views:
        made = features.materialize(view, until=until, ws=committed)
        assert made.view == view.name and made.version == 1
    keys = FLIGHTS.select("origin", "carrier", "tailnum").to_dicts()
    trained = features.join_features(pl.DataFrame(keys).with_columns(at=until), SERVICE, ws=committed)
    assert features.online("delays", keys, until, ws=committed) == trained.select(SERVICE.columns).to_dicts()
    later = features.online("delays@1", keys[:1], hour(12), ws=committed)[0]
    assert later == {"temp": None, "delay_rate_7d": 1.0, "flights_7d": 1, "built": 1999}  # 8:00's weather is too old
    with pytest.raises(InvalidInput, match="cannot be read online as of"):
        features.online(SERVICE, keys, hour(8), ws=committed)


def test_a_version_is_new_only_when_the_values_can_be(committed):
    made = features.apply(SERVICE, ws=committed)
    assert {(each.kind, each.name, each.version) for each in made} >= {("view", "weather", 1), ("service", "delays", 1)}
    assert {each.version for each in features.apply(SERVICE, ws=committed)} == {1}

    reworded = FeatureView(
        "weather", AIRPORT, source="weather", time="at", ttl="180m", features=["wind", "temp"], owner="ana"
    )
    assert [each.version for each in features.apply(reworded, ws=committed) if each.kind == "view"] == [1]
    assert operations.get_view(committed, name="weather").definition.owner == "ana"

    longer = FeatureView("weather", AIRPORT, source="weather", time="at", ttl="4h", features=["temp", "wind"])
    assert [each.version for each in features.apply(longer, ws=committed) if each.kind == "view"] == [2]
    assert features.view_of("weather@1", committed).ttl == "3h" and features.view_of("weather", committed).ttl == "4h"
    pinned = features.service_of("delays", committed)
    assert pinned.views[0].ttl == "3h"
    assert [each.name for each in operations.list_views(committed).items] == ["carrier_delays", "planes", "weather"]
    assert [each.name for each in operations.list_services(committed).items] == ["delays"]
    assert [each.name for each in operations.list_entities(committed, limit=2).items] == ["airport", "carrier"]


def test_applying_what_is_there_writes_no_event(local):
    from trine.access.audit import list_events

    features.apply(WEATHER, ws=local)
    before = len(list_events(local).items)
    features.apply(WEATHER, ws=local)
    assert len(list_events(local).items) == before


def test_freshness_tells_the_age_of_the_newest_rows(committed):
    features.apply(WEATHER, DELAYS, PLANES, ws=committed)
    features.materialize("weather", until=hour(3), ws=committed)
    found = {each.view: each for each in features.freshness(as_of=hour(9), ws=committed)}
    weather = found["weather"]
    assert (weather.source_age_s, weather.online_age_s, weather.state) == (3600, 7 * 3600, "stale")
    features.materialize("weather", until=hour(9), ws=committed)
    assert features.freshness("weather", as_of=hour(9), ws=committed)[0].state == "fresh"
    assert found["carrier_delays"].state == "unknown" and found["planes"].source_newest_us is None


def test_materialising_again_takes_in_late_rows_and_corrections_and_drops_what_is_gone(local):
    service = FeatureService("w", [WEATHER])
    features.materialize(WEATHER, until=hour(9), ws=local)
    assert features.online(service, [{"origin": "JFK"}], hour(9), ws=local) == [{"temp": 8.0, "wind": 0.6}]
    late = pl.DataFrame({"origin": ["EWR", "LGA"], "at": [hour(7), hour(8)], "temp": [7.0, 3.0], "wind": [None, None]})
    data.commit(late.cast({"wind": pl.Float64}), name="weather", mode="replace", ws=local)
    features.materialize(WEATHER, until=hour(9), ws=local)
    got = features.online(service, [{"origin": o} for o in ("JFK", "EWR", "LGA")], hour(9), ws=local)
    assert [row["temp"] for row in got] == [None, 7.0, 3.0]
    features.materialize(WEATHER, until=hour(7), ws=local)  # older: changes nothing
    assert features.online(service, [{"origin": "LGA"}], hour(9), ws=local)[0]["temp"] == 3.0


def test_a_lost_online_file_is_filled_again_by_the_next_read(local):
    features.materialize(WEATHER, until=hour(9), ws=local)
    for part in local.root.glob("online.sqlite*"):
        part.unlink()
    assert features.online(WEATHER, [{"origin": "JFK"}], hour(9), ws=local) == [{"temp": 8.0, "wind": 0.6}]


def test_many_keys_at_once_come_back_in_order(local):
    many = pl.DataFrame({"id": range(1200), "at": [hour(1)] * 1200, "x": [float(i) for i in range(1200)]})
    data.commit(many, name="many", ws=local)
    view = FeatureView("many", Entity("thing", ["id"]), source="many", time="at", features=["x"])
    features.materialize(view, until=hour(2), ws=local)
    keys = [{"id": i} for i in reversed(range(1200))]
    assert [row["x"] for row in features.online(view, keys, hour(2), ws=local)] == [
        float(i) for i in reversed(range(1200))
    ]
    assert features.online(view, [], ws=local) == []


def test_a_pandas_spine_keeps_its_index_and_extra_columns(local):
    spine = pd.DataFrame({"origin": ["JFK", "JFK"], "when": [hour(9), hour(2)], "note": ["b", "a"]}, index=["x", "y"])
    got = features.join_features(spine, WEATHER, ws=local)
    assert got.columns == ["index", "origin", "when", "note", "temp", "wind"]
    assert got["index"].to_list() == ["x", "y"] and got["temp"].to_list() == [8.0, 1.0]


def test_reading_features_is_a_use_of_the_commits_they_came_from(local):
    seen = []
    with recording_uses(seen.append):
        features.join_features({"origin": ["JFK"], "when": [hour(9)]}, WEATHER, ws=local)
    assert data.resolve("weather", ws=local).node in seen


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda ws: features.view_of("wether", ws), NotFound, 'Did you mean "weather"'),
        (lambda ws: features.view_of("weather@9", ws), NotFound, "has no version 9; its newest is 1"),
        (lambda ws: features.view_of("weather@x", ws), InvalidInput, "names no feature view"),
        (lambda ws: features.service_of("delays", ws), NotFound, 'No feature service "delays"'),
        (lambda ws: features.apply(ws=ws), InvalidInput, "nothing to apply"),
        (lambda ws: features.online(WEATHER, [{"origin": "JFK"}], ws=ws), NotFound, "features materialize weather"),
        (lambda ws: features.join_features(3, WEATHER, ws=ws), InvalidInput, "A int is no frame"),
        (
            lambda ws: features.apply(FeatureView("v", AIRPORT, source="wheather", time="at", features=["x"]), ws=ws),
            NotFound,
            "wheather",
        ),
        (
            lambda ws: features.apply(FeatureView("v", AIRPORT, source="weather", time="at", features=["tmp"]), ws=ws),
            InvalidInput,
            'no column "tmp". Did you mean "temp"',
        ),
    ],
)
def test_bad_input_says_what_to_mend(local, call, error, message):
    features.apply(WEATHER, ws=local)
    with pytest.raises(error) as raised:
        call(local)
    assert message in raised.value.message


def test_bad_keys_name_the_row(local):
    features.materialize(WEATHER, until=hour(9), ws=local)
    for keys, message in (
        ([{"origin": "JFK"}, {"origin": 3}], 'Key "origin" in row 1 is 3'),
        ([{}], 'Row 0 of the keys has no "origin"'),
        (["JFK"], "Row 0 of the keys is 'JFK'"),
    ):
        with pytest.raises(InvalidInput) as raised:
            features.online(WEATHER, keys, hour(9), ws=local)
        assert message in raised.value.message


def test_the_command_line_registers_joins_shows_fills_and_reads(local, tmp_path):
    import json

    from click.testing import CliRunner

    from trine.cli import main

    place = ["--workspace", str(local.root.parent)]

    def say(*words, code=0):
        answer = CliRunner().invoke(main, ["features", *words, *place])
        assert answer.exit_code == code, answer.output
        return answer.output

    file = tmp_path / "weather_features_of_the_tests.py"
    file.write_text(
        "from trine.features import Entity, FeatureService, FeatureView\n"
        "airport = Entity('airport', {'origin': str})\n"
        "weather = FeatureView('weather', airport, source='weather', time='at', ttl='3h', features=['temp', 'wind'],"
        " freshness='2h')\n"
        "service = FeatureService('w', [weather])\n"
    )
    assert "trine features apply" in say("ls")
    assert "weather@1" in say("apply", str(file)) and "w@1" in say("apply", str(file))
    assert "defines no feature views" in say("apply", "json", code=2)
    spine = pl.DataFrame({"origin": ["JFK", "LGA"], "when": [hour(9), hour(9)], "late": [True, None]})
    data.commit(spine, name="flights", ws=local)
    assert "1 row, 5 columns" in say("training-set", "w", "flights", "--name", "train", "--label", "late")
    assert data.load("train", ws=local).collect()["temp"].to_list() == [8.0]
    assert "weather@1" in say("ls") and "w@1" in say("services")
    assert "3h" in say("show", "weather") and "temp" in say("show", "weather@1")
    assert "weather@1" in say("materialize", "weather", "--until", "2013-01-01T09:00")
    assert json.loads(say("get", "w", "origin=JFK", "--as-of", "2013-01-01T09:00", "--json")) == {
        "temp": 8.0,
        "wind": 0.6,
    }
    assert "stale" in say("freshness")
    assert "Did you mean" in say("show", "wether", code=3)
    assert "no time" in say("materialize", "weather", "--until", "soon", code=2)
    assert "is no key" in say("get", "w", "JFK", code=2)


def test_processes_fill_and_read_one_online_file_at_once(tmp_path):
    script = (
        "import sys; from pathlib import Path; from trine.features.online_file import OnlineFile, OnlineRow\n"
        "file, first = OnlineFile(Path(sys.argv[1])), int(sys.argv[2])\n"
        "for at in range(first, first + 60):\n"
        "    rows = [OnlineRow(b'%d' % key, 1, b'%d' % at) for key in range(40)]\n"
        "    file.fill('p', 'v', 'h', published_us=at, until_us=at, header='{}', rows=rows)\n"
        "    held = file.read('p', 'v', 'h', 0, [b'%d' % key for key in range(40)])\n"
        "    assert len(held.rows) == 40 and {value for _, value in held.rows} == {b'%d' % held.until_us}\n"
    )
    place = str(tmp_path / "online.sqlite")
    workers = [subprocess.Popen([sys.executable, "-c", script, place, str(first)]) for first in (0, 30, 45)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert OnlineFile(Path(place)).read("p", "v", "h", 104, []).until_us == 104
