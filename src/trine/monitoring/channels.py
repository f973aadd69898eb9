"""Where alerts are told: one notice for everything that one verdict changed.

A channel is named `kind` or `kind:target`: `log`, `file:/var/log/trine-alerts.jsonl`, `webhook:https://…`. A target may
name an environment variable (`webhook:$ALERT_URL`), which is read where the check runs, so that a secret address is
not written into the workspace. More kinds come as entry points of the group `trine.alert_channels`: a function of
the target that gives a `Channel`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import msgspec

from trine.errors import InvalidInput, TrineError, Unavailable, nearest
from trine.ids import canonical_json
from trine.monitoring.alerts import Transition
from trine.monitoring.verdicts import Verdict

GROUP = "trine.alert_channels"
_log = logging.getLogger("trine.monitoring")


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One message: what fired and what is over, and the verdict's own text."""

    monitor: str
    verdict: str
    outcome: str
    text: str
    transitions: tuple[Transition, ...]

    @classmethod
    def of(cls, verdict: Verdict, transitions: Iterable[Transition]) -> Notice:
        told = tuple(transitions)
        lines = [
            f"{one.after.upper()} {one.rule}{f' of {one.column}' if one.column else ''}"
            + (f": {one.message}" if one.message and one.after == "firing" else "")
            for one in told
        ]
        return cls(
            monitor=verdict.monitor,
            verdict=verdict.id,
            outcome=verdict.outcome,
            text="\n".join([*lines, verdict.text()]),
            transitions=told,
        )


class Channel(Protocol):
    """Takes notices. Raises a TrineError when one could not be told."""

    def send(self, notice: Notice) -> None: ...


class LogChannel:
    """Python's logging, logger `trine.monitoring`, level WARNING."""

    def __init__(self, target: str = "") -> None:
        self.logger = logging.getLogger(target or "trine.monitoring")

    def send(self, notice: Notice) -> None:
        self.logger.warning("%s", notice.text)


class FileChannel:
    """One JSON line a notice, appended to a file."""

    def __init__(self, target: str) -> None:
        if not target:
            raise InvalidInput("A file channel needs a path: file:/var/log/trine-alerts.jsonl")
        self.path = Path(target).expanduser()

    def send(self, notice: Notice) -> None:
        try:
            with self.path.open("ab") as out:
                out.write(canonical_json(notice) + b"\n")
        except OSError as error:
            raise Unavailable(f"The alert could not be written to {self.path}: {error.strerror}.") from error


class WebhookChannel:
    """The notice as JSON, sent by POST; anything but a 2xx answer within 10 s is a failure."""

    def __init__(self, target: str) -> None:
        if not target.startswith(("http://", "https://")):
            raise InvalidInput(f'"{target}" is no address of a webhook: write webhook:https://…')
        self.url = target

    def send(self, notice: Notice) -> None:
        import httpx

        headers = {"content-type": "application/json"}
        try:
            answer = httpx.post(self.url, content=canonical_json(notice), headers=headers, timeout=10)
        except httpx.HTTPError as error:
            raise Unavailable(f"The webhook of monitor {notice.monitor} did not answer: {error}.") from error
        if not answer.is_success:
            raise Unavailable(f"The webhook of monitor {notice.monitor} answered {answer.status_code}.")


_BUILT_IN: dict[str, Callable[[str], Channel]] = {"log": LogChannel, "file": FileChannel, "webhook": WebhookChannel}


def channel(name: str) -> Channel:
    """The channel that `kind:target` names. Raises InvalidInput for a kind that is not installed, or a bad target."""
    kind, _, target = name.partition(":")
    target = os.path.expandvars(target)
    if kind in _BUILT_IN:
        return _BUILT_IN[kind](target)
    installed = {one.name: one for one in entry_points(group=GROUP)}
    if kind not in installed:
        raise InvalidInput(f'No alert channel "{kind}".{nearest(kind, [*_BUILT_IN, *installed])}')
    return installed[kind].load()(target)


def check_channel(name: str) -> None:
    """Raises InvalidInput for a name that `channel` could not open; a target from the environment is not looked at."""
    kind, _, target = name.partition(":")
    if kind in _BUILT_IN and "$" not in target:
        _BUILT_IN[kind](target)
    elif kind not in _BUILT_IN and not entry_points(group=GROUP, name=kind):
        channel(name)


def deliver(names: Iterable[str], notice: Notice) -> list[TrineError]:
    """Tell a notice on every channel; what failed is logged and returned, so that one bad channel stops no other."""
    failed: list[TrineError] = []
    for name in names:
        try:
            channel(name).send(notice)
        except TrineError as error:
            _log.warning("alert channel %s: %s", name.partition(":")[0], error.message)
            failed.append(error)
    return failed
