"""What a feature is: entities, feature views and feature services as values.

A definition touches no data. The same value drives the training join (`join.py`), the online store (`online.py`) and the
version in the registry (`operations.py`), so the three cannot disagree.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec.structs import force_setattr, replace

from trine.errors import InvalidInput, nearest
from trine.features.durations import duration, duration_us
from trine.ids import digest

How = Literal["latest", "count", "sum", "mean", "min", "max", "std"]
KeyType = Literal["", "str", "int", "bool", "date"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}")
_KEY_TYPES: dict[Any, KeyType] = {str: "str", int: "int", bool: "bool", dt.date: "date"}


def _named(name: str, what: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInput(f'"{name}" cannot name {what}: use letters, digits, "_", "." and "-", at most 200 of them.')
    return name


class Entity(msgspec.Struct, frozen=True):
    """What features describe, and the columns that identify one: `Entity("route", {"origin": str, "dest": str})`.

    Key types are `str`, `int`, `bool` or `date`; a plain list of names takes whatever the columns hold.
    """

    name: str
    keys: dict[str, KeyType]

    if TYPE_CHECKING:

        def __init__(self, name: str, keys: Mapping[str, type | str] | Sequence[str]) -> None: ...

    def __post_init__(self) -> None:
        _named(self.name, "an entity")
        given: Any = [self.keys] if isinstance(self.keys, str) else self.keys
        pairs: dict[str, Any] = dict(given) if isinstance(given, Mapping) else dict.fromkeys(given, "")
        if not pairs:
            raise InvalidInput(
                f'Entity "{self.name}" has no keys. Give at least one: Entity("{self.name}", {{"id": str}}).'
            )
        keys: dict[str, KeyType] = {}
        for key, kind in pairs.items():
            found = _KEY_TYPES.get(kind, kind)
            if found not in ("", *_KEY_TYPES.values()):
                raise InvalidInput(
                    f'Key "{key}" of entity "{self.name}" has type {kind!r}; keys are str, int, bool or date.'
                )
            keys[key] = found
        force_setattr(self, "keys", keys)


class Feature(msgspec.Struct, frozen=True, omit_defaults=True):
    """One column of a view: how it comes from the source's rows. Made by `latest`, `count`, `mean`, …"""

    how: How
    column: str = ""
    window: str = ""
    where: str = ""
    name: str = ""

    @property
    def window_us(self) -> int:
        return duration_us(self.window)


def latest(column: str) -> Feature:
    """The column's value in the newest row that is known and not older than the view's `ttl`."""
    return Feature("latest", column)


def _windowed(how: How, column: str, window: str | dt.timedelta, where: str) -> Feature:
    return Feature(how, column, duration(window, f"The window of {how}({column!r})"), where)


def count(column: str = "", *, window: str | dt.timedelta, where: str = "") -> Feature:
    """How many rows (of `column`: how many values) lie in the trailing window; 0 where there are none."""
    return _windowed("count", column, window, where)


def sum_(column: str, *, window: str | dt.timedelta, where: str = "") -> Feature:
    """The sum over the trailing window, exact before its last rounding; 0 where there are no values."""
    return _windowed("sum", column, window, where)


def mean(column: str, *, window: str | dt.timedelta, where: str = "") -> Feature:
    """The mean over the trailing window (of a boolean column: the rate); null where there are no values."""
    return _windowed("mean", column, window, where)


def min_(column: str, *, window: str | dt.timedelta, where: str = "") -> Feature:
    """The least value in the trailing window; null where there are none."""
    return _windowed("min", column, window, where)


def max_(column: str, *, window: str | dt.timedelta, where: str = "") -> Feature:
    """The greatest value in the trailing window; null where there are none."""
    return _windowed("max", column, window, where)


def std(column: str, *, window: str | dt.timedelta, where: str = "") -> Feature:
    """The sample standard deviation (n - 1) over the trailing window; null for fewer than two values."""
    return _windowed("std", column, window, where)


class FeatureView(msgspec.Struct, frozen=True):
    """Features of one entity, computed from one dataset.

    A row of the source *happens* at `time` and *becomes known* at `created` (a column; `time` when there is none), `delay`
    later when that is given. At time t a row is visible when it has happened and is known: `time ≤ t` and `created + delay ≤ t`.
    A trailing window of length w holds the visible rows with `t - w < time ≤ t`: open at its old end, closed at t.
    `latest` takes the visible row with the greatest (time, created, position in the source), and gives null when that row is
    older than `ttl` (`time < t - ttl`). `time=None` says that the source has no time: its last row per key always holds.
    Times are compared in whole microseconds, UTC; naive times are read as UTC. Rows without key, time or created are never seen.

    `source` is a dataset (`flights`, `flights@branch`); `keys` names its key columns where they differ from the entity's.
    `freshness` is the age of the newest row past which the view is stale; it, `description`, `owner` and `tags` make no version.
    """

    name: str
    entity: Entity
    source: str
    time: str | None
    features: tuple[Feature, ...]
    created: str | None = None
    delay: str = ""
    ttl: str = ""
    keys: dict[str, str] = {}
    freshness: str = ""
    description: str = ""
    owner: str = ""
    tags: dict[str, str] = {}

    if TYPE_CHECKING:

        def __init__(
            self,
            name: str,
            entity: Entity,
            *,
            source: str,
            time: str | None,
            features: Mapping[str, Feature | str] | Sequence[str] | Sequence[Feature],
            created: str | None = None,
            delay: str | dt.timedelta = "",
            ttl: str | dt.timedelta = "",
            keys: Mapping[str, str] | None = None,
            freshness: str | dt.timedelta = "",
            description: str = "",
            owner: str = "",
            tags: Mapping[str, str] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        _named(self.name, "a feature view")
        force_setattr(self, "features", self._features(self.features))
        force_setattr(self, "keys", dict(self.keys or {}))
        force_setattr(self, "tags", dict(self.tags or {}))
        for field in ("delay", "ttl", "freshness"):
            if value := getattr(self, field):
                force_setattr(self, field, duration(value, f'{field} of feature view "{self.name}"'))
        self._check_keys()
        self._check_time()

    def _features(self, given: Any) -> tuple[Feature, ...]:
        if isinstance(given, Mapping):
            pairs: list[tuple[str, Any]] = list(given.items())
        else:
            pairs = [(each.name, each) if isinstance(each, Feature) else (each, each) for each in given]
        if not pairs:
            raise InvalidInput(f'Feature view "{self.name}" has no features. Give at least one.')
        made: dict[str, Feature] = {}
        for name, how in pairs:
            _named(name, f'a feature of view "{self.name}"')
            if name in made:
                raise InvalidInput(f'Feature view "{self.name}" names feature "{name}" twice. Rename one of them.')
            feature = latest(how) if isinstance(how, str) else how
            if not isinstance(feature, Feature):
                raise InvalidInput(
                    f'Feature "{name}" of view "{self.name}" is {how!r}; write latest("column"), count(window="7d"), …'
                )
            made[name] = feature if feature.name == name else replace(feature, name=name)
        return tuple(made.values())

    def _check_keys(self) -> None:
        for key in self.keys:
            if key not in self.entity.keys:
                raise InvalidInput(
                    f'Feature view "{self.name}" renames key "{key}", which entity "{self.entity.name}" does not have.'
                    f"{nearest(key, self.entity.keys)}"
                )

    def _check_time(self) -> None:
        if self.time is not None:
            return
        timed = [feature.name for feature in self.features if feature.how != "latest"]
        given = [field for field in ("created", "delay", "ttl", "freshness") if getattr(self, field)]
        if timed or given:
            raise InvalidInput(
                f'Feature view "{self.name}" has no time column, so {", ".join(timed or given)} cannot be computed. '
                f'Say which column tells when a row happened: time="…".'
            )

    @property
    def source_keys(self) -> list[str]:
        """The source's key columns, in the entity's order."""
        return [self.keys.get(key, key) for key in self.entity.keys]

    @property
    def source_columns(self) -> list[str]:
        """Every column of the source that the view reads, each once."""
        named = [*self.source_keys, self.time, self.created]
        for feature in self.features:
            named += [feature.column, feature.where]
        return list(dict.fromkeys(column for column in named if column))

    @property
    def longest_window_us(self) -> int:
        return max((feature.window_us for feature in self.features), default=0)

    @property
    def hash(self) -> str:
        """The digest of what decides the values: equal for equal definitions, whatever their wording or order."""
        return digest(
            {
                "entity": {"name": self.entity.name, "keys": self.entity.keys},
                "source": self.source,
                "keys": self.source_keys,
                "time": self.time,
                "created": self.created,
                "delay": self.delay,
                "ttl": self.ttl,
                "features": {feature.name: feature for feature in self.features},
            }
        )

    def feature(self, name: str) -> Feature:
        """The feature of that name."""
        for feature in self.features:
            if feature.name == name:
                return feature
        known = [feature.name for feature in self.features]
        raise InvalidInput(
            f'Feature view "{self.name}" has no feature "{name}".{nearest(name, known)} It has: {", ".join(known)}.'
        )

    def __getitem__(self, names: str | Sequence[str]) -> Selection:
        """Some of the view's features: `view["temp"]`, `view[["temp", "wind"]]`."""
        return Selection(view=self)[names]

    def on(self, keys: Mapping[str, str], prefix: str = "") -> Selection:
        """The view read by other columns of the spine: `weather.on({"origin": "dest"}, prefix="dest_")`."""
        return Selection(view=self).on(keys, prefix)


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Features of one view, and the spine columns (`keys`: entity key → column) they are looked up by."""

    view: FeatureView
    features: tuple[str, ...] = ()
    keys: dict[str, str] = {}
    prefix: str = ""

    def __post_init__(self) -> None:
        every = tuple(feature.name for feature in self.view.features)
        force_setattr(self, "features", self.features or every)
        for name in self.features:
            self.view.feature(name)
        for key in self.keys:
            if key not in self.view.entity.keys:
                raise InvalidInput(
                    f'Entity "{self.view.entity.name}" of feature view "{self.view.name}" has no key "{key}".'
                    f"{nearest(key, self.view.entity.keys)}"
                )

    def __getitem__(self, names: str | Sequence[str]) -> Selection:
        return replace(self, features=(names,) if isinstance(names, str) else tuple(names))

    def on(self, keys: Mapping[str, str], prefix: str = "") -> Selection:
        return replace(self, keys=dict(keys), prefix=prefix)

    @property
    def spine_keys(self) -> list[str]:
        """The spine's columns that hold the entity's keys, in the entity's order."""
        return [self.keys.get(key, key) for key in self.view.entity.keys]

    @property
    def columns(self) -> list[str]:
        """The names that the features get in a training set."""
        return [self.prefix + name for name in self.features]


class FeatureService(msgspec.Struct, frozen=True):
    """What one model reads: views, or parts of them, in the order of the model's columns."""

    name: str
    selections: tuple[Selection, ...]
    description: str = ""

    if TYPE_CHECKING:

        def __init__(self, name: str, selections: Sequence[FeatureView | Selection], description: str = "") -> None: ...

    def __post_init__(self) -> None:
        _named(self.name, "a feature service")
        given: Sequence[FeatureView | Selection] = self.selections
        selections = tuple(Selection(view=each) if isinstance(each, FeatureView) else each for each in given)
        if not selections:
            raise InvalidInput(f'Feature service "{self.name}" has no feature views. Give at least one.')
        force_setattr(self, "selections", selections)
        owner: dict[str, str] = {}
        for selection in selections:
            for column in selection.columns:
                if column in owner:
                    raise InvalidInput(
                        f'Feature service "{self.name}" gets "{column}" from view "{owner[column]}" and from view '
                        f'"{selection.view.name}". Leave one out, or rename it with .on(…, prefix="…").'
                    )
                owner[column] = selection.view.name
        views: dict[str, str] = {}
        for view in (selection.view for selection in selections):
            if views.setdefault(view.name, view.hash) != view.hash:
                raise InvalidInput(
                    f'Feature service "{self.name}" holds two definitions of view "{view.name}". Use one.'
                )

    @property
    def views(self) -> list[FeatureView]:
        """The views it reads, each once."""
        return list({selection.view.name: selection.view for selection in self.selections}.values())

    @property
    def columns(self) -> list[str]:
        """The names of its features, in order."""
        return [column for selection in self.selections for column in selection.columns]

    @property
    def hash(self) -> str:
        """The digest of what decides the values and their order."""
        return digest(
            [
                {
                    "view": [selection.view.name, selection.view.hash],
                    "features": selection.features,
                    "keys": selection.spine_keys,
                    "prefix": selection.prefix,
                }
                for selection in self.selections
            ]
        )
