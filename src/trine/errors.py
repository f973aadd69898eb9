"""The error tree. Every error Trine raises on purpose is one of these.

    TrineError                     code                 HTTP  exit
    ├── InvalidInput               invalid_input         422     2   a value is wrong: type, range, form
    │   └── WrongMethod            method_not_allowed    405     2   there is something at this address, but not for this method
    ├── Unauthenticated            unauthenticated       401     4   no or bad credentials
    ├── Refused                    refused               403     4   known, but not allowed
    │   └── ApprovalRequired       approval_required     403     4   held at the door until a second person approves
    ├── NotFound                   not_found             404     3   no such thing (nearest names are suggested)
    ├── Conflict                   conflict              409     5   the world moved: lost compare-and-set, already exists
    │   └── CheckFailed            check_failed          409     5   an expectation or a gate said no
    ├── TooLarge                   too_large             413     2   over a stated limit
    └── Failure                    failure               500     1   it could not be done: the fault is not the caller's
        ├── Damaged                damaged               500     1   stored bytes do not match their hash or CRC
        ├── NoSpace                no_space              507     1   the disk or the quota is full
        ├── ModelFailed            model_failed          502     1   a model failed on rows that fit its signature
        └── Unavailable            unavailable           503     1   a part that is needed is away; try again

A message says what is wrong, where, and how to mend it, in one or two sentences.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar


class TrineError(Exception):
    """Root of the tree. `code` is stable, `details` is JSON-able and carries what the message names."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidInput(TrineError):
    code, status, exit_code = "invalid_input", 422, 2


class WrongMethod(InvalidInput):
    code, status = "method_not_allowed", 405


class Unauthenticated(TrineError):
    code, status, exit_code = "unauthenticated", 401, 4


class Refused(TrineError):
    code, status, exit_code = "refused", 403, 4


class ApprovalRequired(Refused):
    code = "approval_required"


class NotFound(TrineError):
    code, status, exit_code = "not_found", 404, 3


class Conflict(TrineError):
    code, status, exit_code = "conflict", 409, 5


class CheckFailed(Conflict):
    code = "check_failed"


class TooLarge(TrineError):
    code, status, exit_code = "too_large", 413, 2


class Failure(TrineError):
    code = "failure"


class Damaged(Failure):
    code = "damaged"


class NoSpace(Failure):
    code, status = "no_space", 507


class ModelFailed(Failure):
    code, status = "model_failed", 502


class Unavailable(Failure):
    code, status = "unavailable", 503


def _tree(kind: type[TrineError]) -> Iterable[type[TrineError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


def by_code(code: str) -> type[TrineError]:
    """The error class with that stable code; the root for a code this version does not know."""
    return next((kind for kind in _tree(TrineError) if kind.code == code), TrineError)


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean "…"?` for the closest known name, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{close[0]}"?' if close else ""
