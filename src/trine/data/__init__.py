"""Versioned data: dataset commits, tables, profiles, expectations."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trine.data.aliases import digests, find_object
    from trine.data.cards import DataCard, card
    from trine.data.changes import Changes, Diff, Status, diff, status
    from trine.data.checkouts import checkout
    from trine.data.checks import check
    from trine.data.commits import Commit, DatasetInfo
    from trine.data.compaction import compact
    from trine.data.croissant_json import croissant
    from trine.data.delta.folders import write_delta
    from trine.data.edits import move, remove
    from trine.data.expectations import CheckResult, Expectation, read_expectations
    from trine.data.folders import add
    from trine.data.frames import as_polars
    from trine.data.handle import Dataset, dataset
    from trine.data.merges import PathConflict, merge
    from trine.data.moving import mend, pull, push
    from trine.data.one_pass import profile_frame
    from trine.data.pins import follow, pin, pin_states, pinned, unpin
    from trine.data.profiles import ColumnProfile, Profile
    from trine.data.reading import failed_sample, failing_rows, load, profile, profile_of, read
    from trine.data.references import resolve
    from trine.data.row_edits import delete, upsert
    from trine.data.row_merges import RowDiff, diff_rows, merge_conflicts
    from trine.data.rows import commit
    from trine.data.rules import (
        between,
        compare,
        decreasing,
        distinct_count,
        distinct_share,
        drift,
        dtype,
        expression,
        foreign_key,
        fresh,
        has_schema,
        includes,
        increasing,
        is_null,
        length_between,
        matches,
        maximum_between,
        mean_between,
        median_between,
        minimum_between,
        no_match,
        none_of,
        not_null,
        null_share,
        one_of,
        parses,
        quantile_between,
        row_count,
        row_growth,
        std_between,
        sum_between,
        unique,
    )
    from trine.data.staging import commit_staged
    from trine.data.streams import Stream, stream
    from trine.data.suggestions import suggest
    from trine.data.suites import Suite, expect, expected
    from trine.data.verification import verify

_HOMES = {
    "aliases": ("digests", "find_object"),
    "cards": ("DataCard", "card"),
    "compaction": ("compact",),
    "croissant_json": ("croissant",),
    "changes": ("Changes", "Diff", "Status", "diff", "status"),
    "checkouts": ("checkout",),
    "checks": ("check",),
    "commits": ("Commit", "DatasetInfo"),
    "delta.folders": ("write_delta",),
    "edits": ("move", "remove"),
    "expectations": ("CheckResult", "Expectation", "read_expectations"),
    "folders": ("add",),
    "frames": ("as_polars",),
    "handle": ("Dataset", "dataset"),
    "merges": ("PathConflict", "merge"),
    "moving": ("mend", "pull", "push"),
    "one_pass": ("profile_frame",),
    "pins": ("follow", "pin", "pin_states", "pinned", "unpin"),
    "profiles": ("ColumnProfile", "Profile"),
    "reading": ("failed_sample", "failing_rows", "load", "profile", "profile_of", "read"),
    "references": ("resolve",),
    "row_edits": ("delete", "upsert"),
    "row_merges": ("RowDiff", "diff_rows", "merge_conflicts"),
    "rows": ("commit",),
    "rules": (
        "between", "compare", "decreasing", "distinct_count", "distinct_share", "drift", "dtype", "expression", "foreign_key",
        "fresh", "has_schema", "includes", "increasing", "is_null", "length_between", "matches", "maximum_between",
        "mean_between", "median_between", "minimum_between", "no_match", "none_of", "not_null", "null_share",
        "one_of", "parses", "quantile_between", "row_count", "row_growth", "std_between",
        "sum_between", "unique",
    ),
    "staging": ("commit_staged",),
    "suggestions": ("suggest",),
    "suites": ("Suite", "expect", "expected"),
    "streams": ("Stream", "stream"),
    "verification": ("verify",),
}  # fmt: skip
_FILE_OF = {name: file for file, names in _HOMES.items() for name in names}

__all__ = [
    "Changes",
    "CheckResult",
    "ColumnProfile",
    "Commit",
    "DataCard",
    "Dataset",
    "DatasetInfo",
    "Diff",
    "Expectation",
    "PathConflict",
    "Profile",
    "RowDiff",
    "Status",
    "Stream",
    "Suite",
    "add",
    "as_polars",
    "between",
    "card",
    "check",
    "checkout",
    "commit",
    "commit_staged",
    "compact",
    "compare",
    "croissant",
    "dataset",
    "decreasing",
    "delete",
    "diff",
    "diff_rows",
    "digests",
    "distinct_count",
    "distinct_share",
    "drift",
    "dtype",
    "expect",
    "expected",
    "expression",
    "failed_sample",
    "failing_rows",
    "find_object",
    "follow",
    "foreign_key",
    "fresh",
    "has_schema",
    "includes",
    "increasing",
    "is_null",
    "length_between",
    "load",
    "matches",
    "maximum_between",
    "mean_between",
    "median_between",
    "mend",
    "merge",
    "merge_conflicts",
    "minimum_between",
    "move",
    "no_match",
    "none_of",
    "not_null",
    "null_share",
    "one_of",
    "parses",
    "pin",
    "pin_states",
    "pinned",
    "profile",
    "profile_frame",
    "profile_of",
    "pull",
    "push",
    "quantile_between",
    "read",
    "read_expectations",
    "remove",
    "resolve",
    "row_count",
    "row_growth",
    "status",
    "std_between",
    "stream",
    "suggest",
    "sum_between",
    "unique",
    "unpin",
    "upsert",
    "verify",
    "write_delta",
]


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are first asked for, so that importing the room costs nothing."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FILE_OF[name]}"), name)
