"""Errors as MLflow's clients expect them: `{"error_code": …, "message": …}`, with texts they compare."""

from __future__ import annotations

from typing import Any

import msgspec

from trine.errors import (
    Conflict,
    InvalidInput,
    NoSpace,
    NotFound,
    Refused,
    TooLarge,
    TrineError,
    Unauthenticated,
    Unavailable,
)

STATUS = {
    "BAD_REQUEST": 400,
    "INVALID_PARAMETER_VALUE": 400,
    "RESOURCE_ALREADY_EXISTS": 400,
    "INVALID_STATE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "ENDPOINT_NOT_FOUND": 404,
    "RESOURCE_CONFLICT": 409,
    "INTERNAL_ERROR": 500,
    "NOT_IMPLEMENTED": 501,
    "TEMPORARILY_UNAVAILABLE": 503,
}
_OF = {
    Unauthenticated: "UNAUTHENTICATED",
    Refused: "PERMISSION_DENIED",
    NotFound: "RESOURCE_DOES_NOT_EXIST",
    Conflict: "RESOURCE_CONFLICT",
    InvalidInput: "INVALID_PARAMETER_VALUE",
    TooLarge: "INVALID_PARAMETER_VALUE",
    Unavailable: "TEMPORARILY_UNAVAILABLE",
    NoSpace: "TEMPORARILY_UNAVAILABLE",
}


class WireError(Exception):
    """An error with MLflow's code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        return STATUS.get(self.code, 500)

    @property
    def body(self) -> bytes:
        return msgspec.json.encode({"error_code": self.code, "message": self.message})


def from_trine(error: TrineError) -> WireError:
    """The nearest code of MLflow's for an error of ours; the message stays."""
    code = next((code for kind, code in _OF.items() if isinstance(error, kind)), "INTERNAL_ERROR")
    return WireError(code, error.message)


def invalid(message: str) -> WireError:
    return WireError("INVALID_PARAMETER_VALUE", message)


def missing(message: str) -> WireError:
    return WireError("RESOURCE_DOES_NOT_EXIST", message)


def exists(message: str) -> WireError:
    return WireError("RESOURCE_ALREADY_EXISTS", message)


def needed(name: str) -> WireError:
    """A parameter that has to be there is not."""
    return invalid(
        f"Missing value for required parameter '{name}'. See the API docs for more information about request parameters."
    )


def wrong_type(name: str, value: Any) -> WireError:
    """A parameter has a value of another type."""
    return invalid(
        f"{wrong(name, value, f' Hint: Value was of type {type(value).__name__!r}.')}"
        " See the API docs for more information about request parameters."
    )


def wrong(name: str, value: Any, reason: str = "") -> str:
    """What MLflow says of a value that cannot be."""
    shown = msgspec.json.encode(value, enc_hook=str, order="sorted").decode()
    return f"Invalid value {shown} for parameter '{name}' supplied" + (f": {reason}" if reason else ".")
