"""MLflow's rules for keys and values, with the texts its clients know."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from trine.models.names import fitting_name
from trine.server.mlflow.errors import WireError, invalid, needed, wrong, wrong_type

MOST_METRICS, MOST_PARAMS, MOST_TAGS, MOST_TOGETHER = 1_000, 100, 100, 1_000
LONGEST_KEY, LONGEST_PARAM, LONGEST_TAG, LONGEST_EXPERIMENT, LONGEST_MODEL = 250, 6_000, 8_000, 500, 256
LARGEST_BATCH = 1_000_000
MOST_RESULTS = 50_000
_KEY = re.compile(r"[/\w.\- :]*")
_PLAIN = re.compile(r"[\w\-][\w\- :]*")
_RUN = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")
_ALIAS = re.compile(r"[\w\-]*")


def check_key(key: Any, where: str) -> str:
    """The name of a metric, param or tag."""
    if not isinstance(key, str):
        raise invalid(wrong(where, key, "A key name must be provided."))
    if _PLAIN.fullmatch(key):
        return key
    if not _KEY.fullmatch(key):
        raise invalid(
            wrong(
                where,
                key,
                "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) "
                "and slashes (/).",
            )
        )
    check_path_like(key, where)
    return key


def check_path_like(name: str, where: str) -> None:
    norm = posixpath.normpath(name)
    if norm != name or norm == "." or norm.startswith(("..", "/")):
        raise invalid(
            wrong(
                where,
                name,
                "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. "
                f"This name would resolve to {norm!r}",
            )
        )


def check_length(what: str, limit: int, value: str) -> str:
    if len(value) > limit:
        raise too_long(what, limit)
    return value


def too_long(what: str, limit: int) -> WireError:
    return invalid(f"'{what}' exceeds the maximum length of {limit} characters")


def is_run_id(id: str) -> bool:
    """Whether a run of Trine can have that id."""
    return len(id) == 32 and not id.strip("0123456789abcdef")


def check_run_id(id: str) -> str:
    """A run's id as MLflow writes ids. (Whether there is such a run is another question.)"""
    if not _RUN.fullmatch(id):
        raise invalid(wrong("run_id", id))
    return id


def check_number(metric: dict[str, Any], name: str, where: str) -> float:
    """A metric's value: a number, or text that says one."""
    value = metric.get(name)
    if value is None or value == "":
        raise needed(where)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        pass
    when = metric.get("timestamp")
    raise invalid(
        wrong(where, value, f"(timestamp={when}). Please specify value as a valid double (64-bit floating point)")
    )


def negative_time(where: str, when: int, key: str, value: float) -> WireError:
    return invalid(
        wrong(where, when, f"metric '{key}' (value={value}). Timestamp must be a nonnegative long (64-bit integer) ")
    )


def check_whole(value: Any, where: str) -> int:
    """A 64-bit whole number, or text that says one."""
    if type(value) is int:
        found = value
    elif isinstance(value, bool):
        raise wrong_type(where, value)
    else:
        try:
            found = int(value)
        except (TypeError, ValueError, OverflowError):
            raise wrong_type(where, value) from None
        if isinstance(value, float) and not value.is_integer():
            raise wrong_type(where, value)
    if not -(2**63) <= found < 2**63:
        raise wrong_type(where, value)
    return found


def check_batch(metrics: list[Any], params: list[Any], tags: list[Any]) -> None:
    """How much one batch may hold."""
    for what, limit, length in (
        ("metrics", MOST_METRICS, len(metrics)),
        ("params", MOST_PARAMS, len(params)),
        ("tags", MOST_TAGS, len(tags)),
        ("metrics, params, and tags", MOST_TOGETHER, len(metrics) + len(params) + len(tags)),
    ):
        if length > limit:
            raise invalid(
                f"A batch logging request can contain at most {limit} {what}. Got {length} {what}. "
                f"Please split up {what} across multiple requests and try again."
            )


def check_experiment_name(name: Any) -> str:
    if not isinstance(name, str):
        raise invalid(f"Invalid experiment name: {name}. Expects a string.")
    if not name:
        raise invalid(f"Invalid experiment name: '{name}'")
    return check_length("name", LONGEST_EXPERIMENT, name)


def check_model_name(name: str) -> str:
    """A registered model's name, as Trine has it."""
    if not name.strip():
        raise invalid("Missing value for required parameter 'name'.")
    if "/" in name or ":" in name:
        raise invalid(f"Invalid model name '{name}'. Names cannot contain '/' or ':'.")
    check_path_like(name, "name")
    check_length("name", LONGEST_MODEL, name)
    return fitting_name(name)


def check_alias(alias: str) -> str:
    if not alias:
        raise invalid("Registered model alias name cannot be empty.")
    if not _ALIAS.fullmatch(alias):
        raise invalid(
            f"Invalid alias name: '{alias}'. Names may only contain alphanumerics, underscores (_), and dashes (-)."
        )
    check_length("Registered model alias name", 255, alias)
    if alias.lower() == "latest":
        raise invalid("'latest' alias name (case insensitive) is reserved.")
    if re.fullmatch(r"[vV]\d+", alias):
        raise invalid(f"Version alias name '{alias}' is reserved.")
    return alias
