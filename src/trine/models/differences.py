"""What differs between two versions, of one model or of two."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from trine.models.loading import resolve
from trine.models.versions import ModelVersion
from trine.workspace import Workspace, current_workspace


class Difference(msgspec.Struct, frozen=True):
    """One fact that is not the same: `part` is its kind (`input`, `metric`, `library`, `param` …), an absent value is empty."""

    part: str
    name: str
    before: str
    after: str


def diff(one: str, other: str, *, ws: Workspace | None = None) -> list[Difference]:
    """What the version `other` has that is not as in `one`: signature, metrics, params of the runs, data, libraries, tags."""
    ws = ws or current_workspace()
    first, second = resolve(one, ws=ws), resolve(other, ws=ws)
    before, after = dict(_facts(first)), dict(_facts(second))
    before |= dict(_params(first, ws))
    after |= dict(_params(second, ws))
    return [
        Difference(*key, before.get(key, ""), after.get(key, ""))
        for key in dict.fromkeys([*before, *after])
        if before.get(key, "") != after.get(key, "")
    ]


def _facts(one: ModelVersion) -> Iterator[tuple[tuple[str, str], str]]:
    for part in ("flavor", "estimator", "run", "data", "artifact", "stage", "description", "author"):
        yield ("version", part), getattr(one, part)
    yield ("version", "classes"), ", ".join(map(str, one.classes))
    yield ("version", "pickled"), "yes" if one.pickled else "no"
    for part, fields in (("input", one.signature.inputs), ("output", one.signature.outputs)):
        for field in fields:
            yield (part, field.name), field.dtype + ("" if field.required else ", optional")
    for name, value in one.metrics.items():
        yield ("metric", name), f"{value:.6g}"
    for name, value in one.libraries.items():
        yield ("library", name), value
    for name, value in one.tags.items():
        yield ("tag", name), value


def _params(one: ModelVersion, ws: Workspace) -> Iterator[tuple[tuple[str, str], str]]:
    """The params of the run that made it; nothing when that run is gone."""
    from trine.errors import NotFound
    from trine.tracking import get_run

    try:
        params = get_run(one.run, ws=ws).params if one.run else {}
    except NotFound:
        return
    for name, value in params.items():
        yield ("param", name), value
