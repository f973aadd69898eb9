"""What an endpoint serves: numbered immutable routes of variants, and which variant a key goes to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from blake3 import blake3

from trine.errors import InvalidInput
from trine.types import Name

Role = Literal["live", "shadow"]


class Variant(msgspec.Struct, frozen=True):
    """One target of a route: a model version and its share of the requests.

    `weight` of a live variant is relative to the other live ones; of a shadow it is the percentage of requests that it
    gets a copy of. A shadow's answers are recorded and never given to a caller.
    """

    name: Name
    model: str
    weight: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 100.0
    role: Role = "live"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint's numbered, immutable traffic table. Models are pinned: `name@version`, whatever alias was asked for.

    `back` is the number of the route that a rollback restores (0: none), `restores` the one that this is a copy of,
    `problem` why a server could not take it up.
    """

    endpoint: str
    number: int
    variants: tuple[Variant, ...]
    salt: str
    back: int = 0
    restores: int = 0
    rollout: str = ""
    reason: str = ""
    problem: str = ""
    author: str = ""
    created_us: int = 0

    @property
    def node(self) -> str:
        """Its node in the lineage graph."""
        return f"route:{self.endpoint}@{self.number}"

    @property
    def live(self) -> tuple[Variant, ...]:
        return tuple(one for one in self.variants if one.role == "live")

    @property
    def shadows(self) -> tuple[Variant, ...]:
        return tuple(one for one in self.variants if one.role == "shadow")


class EndpointInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A served name and the route that serves it now (None: no model was deployed yet)."""

    name: str
    key: str
    description: str
    author: str
    created_us: int
    route: Route | None

    @property
    def node(self) -> str:
        """Its node in the lineage graph."""
        return f"endpoint:{self.name}"


def checked(variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    """The variants with live weights in percent. Raises InvalidInput for doubled names, no live variant, a bad weight."""
    names = [one.name for one in variants]
    if doubled := next((name for name in names if names.count(name) > 1), ""):
        raise InvalidInput(f'Variant "{doubled}" is there twice: each needs a name of its own.')
    live = [one for one in variants if one.role == "live"]
    if not live:
        raise InvalidInput("A route needs a live variant: one that answers callers.")
    for one in variants:
        if not (math.isfinite(one.weight) and one.weight > 0):
            raise InvalidInput(f'Variant "{one.name}" has weight {one.weight}: give a number above 0.')
        if one.role == "shadow" and one.weight > 100:
            raise InvalidInput(f'Shadow "{one.name}" has weight {one.weight:g}: it is a percentage, at most 100.')
    total = sum(one.weight for one in live)
    return tuple(
        msgspec.structs.replace(one, weight=one.weight * 100 / total) if one.role == "live" else one for one in variants
    )


def place(salt: str, name: str, key: str) -> float:
    """Where a key falls for a variant: uniform in (0, 1), the same in every process (BLAKE3 of salt, name and key)."""
    digest = blake3(f"{salt}\0{name}\0{key}".encode()).digest(length=8)
    return ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52  # 52 bits: never rounds to 0 or 1


def choose(route: Route, key: str) -> Variant:
    """The live variant that answers for a key; the same one as long as the route's salt and weights stay.

    Weighted rendezvous hashing (Thaler & Ravishankar 1998): the largest weight / -ln(place) wins, which happens with
    probability weight / sum. When one variant's share grows, keys move to it and nowhere else: a ramp is monotone.
    """
    live = route.live
    if len(live) == 1:
        return live[0]
    return max(live, key=lambda one: one.weight / -math.log(place(route.salt, one.name, key)))


def shadowed(route: Route, key: str) -> list[Variant]:
    """The shadows that get a copy of the request with this key."""
    return [one for one in route.shadows if one.weight >= 100 or place(route.salt, one.name, key) * 100 < one.weight]


def headers_of(route: Route, variants: Sequence[Variant]) -> list[tuple[bytes, bytes]]:
    """The headers that tell a caller who answered; the first is the route."""
    return [
        (b"x-trine-route", str(route.number).encode()),
        (b"x-trine-model-version", ",".join(one.model for one in variants).encode()),
        (b"x-trine-variant", ",".join(one.name for one in variants).encode()),
    ]
