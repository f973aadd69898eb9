"""Feature views over datasets: point-in-time training sets, and the same values online.

airport = Entity("airport", {"origin": str})
weather = FeatureView("weather", airport, source="weather", time="time_hour", ttl="3h", features=["temp", "wind_speed"])
delays = FeatureService("delays", [weather, weather.on({"origin": "dest"}, prefix="dest_")["temp"]])

apply(delays)
train = training_set("flights@2013-03", delays, name="delays-train", time="scheduled")
materialize(weather)
online(delays, [{"origin": "JFK", "dest": "LAX"}])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trine.features.definitions import (
        Entity,
        Feature,
        FeatureService,
        FeatureView,
        Selection,
        count,
        latest,
        max_,
        mean,
        min_,
        std,
        sum_,
    )
    from trine.features.online_store import materialize, online
    from trine.features.registry import apply, freshness, service_of, view_of
    from trine.features.training import join_features, training_set

__all__ = [
    "Entity",
    "Feature",
    "FeatureService",
    "FeatureView",
    "Selection",
    "apply",
    "count",
    "freshness",
    "join_features",
    "latest",
    "materialize",
    "max_",
    "mean",
    "min_",
    "online",
    "service_of",
    "std",
    "sum_",
    "training_set",
    "view_of",
]

_PLACES = {
    "apply": "registry",
    "freshness": "registry",
    "join_features": "training",
    "materialize": "online_store",
    "online": "online_store",
    "service_of": "registry",
    "training_set": "training",
    "view_of": "registry",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES.get(name, 'definitions')}"), name)
