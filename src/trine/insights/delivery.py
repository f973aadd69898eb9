"""What was trained, judged and promoted when: the facts that delivery metrics are computed from."""

from __future__ import annotations

import msgspec


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """The run that made a registered version. Times are None when the run did not say them."""

    model: str
    version: int
    run: str
    time_us: int
    duration_us: int | None = None


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate that was judged (by the last report of its gate), or a loop's cycle that failed before it could be."""

    model: str
    candidate: str
    time_us: int
    passed: bool


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """A version that came into production. `undone_us` is when it was taken back in favour of the one before it.

    `data_us` is the newest commit of source data (that no run or step made) among what it was trained on; `code` the git
    commit it was made by, `is_dirty` whether with changes that are in no commit.
    """

    model: str
    version: int
    time_us: int
    before: int = 0
    undone_us: int | None = None
    data_us: int | None = None
    code: str = ""
    is_dirty: bool = False


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a period, oldest first. `first_us` is the first event of the project, `now_us` when they were read."""

    first_us: int
    now_us: int
    trainings: list[Training]
    experiments: list[Experiment]
    promotions: list[Promotion]


class AliasMove(msgspec.Struct, frozen=True):
    """One move of a production alias, as the event stream tells it."""

    model: str
    version: int
    time_us: int
    is_rollback: bool


def promotions_of(moves: list[AliasMove]) -> list[Promotion]:
    """Moves of production, oldest first, as promotions: a rollback, or an earlier version put back by hand, undoes the last."""
    found: list[Promotion] = []
    stacks: dict[str, list[int]] = {}  # by model, places in `found`: what is in production, over what it replaced
    for move in moves:
        stack = stacks.setdefault(move.model, [])
        versions = [found[place].version for place in stack]
        now = versions[-1] if versions else 0
        if move.version == now:
            continue
        if move.version in versions or (stack and move.is_rollback):
            found[stack[-1]] = msgspec.structs.replace(found[stack[-1]], undone_us=move.time_us)
        if move.version in versions:
            del stack[versions.index(move.version) + 1 :]
            continue
        stack.append(len(found))
        found.append(Promotion(model=move.model, version=move.version, time_us=move.time_us, before=now))
    return found
