"""Versioned data: dataset commits, tables, profiles, expectations."""

from trine.data.checkout import Changes, Diff, Status, checkout, diff, status, verify
from trine.data.commits import Commit, DatasetInfo
from trine.data.datasets import add, as_polars, commit, resolve
from trine.data.expectations import (
    CheckResult,
    Expectation,
    between,
    dtype,
    expression,
    matches,
    not_null,
    null_share,
    one_of,
    read_expectations,
    row_count,
    unique,
)
from trine.data.handle import Dataset, dataset
from trine.data.load import load, profile, profile_of, read
from trine.data.profile import ColumnProfile, Profile, profile_frame

__all__ = [
    "Changes",
    "CheckResult",
    "ColumnProfile",
    "Commit",
    "Dataset",
    "DatasetInfo",
    "Diff",
    "Expectation",
    "Profile",
    "Status",
    "add",
    "as_polars",
    "between",
    "checkout",
    "commit",
    "dataset",
    "diff",
    "dtype",
    "expression",
    "load",
    "matches",
    "not_null",
    "null_share",
    "one_of",
    "profile",
    "profile_frame",
    "profile_of",
    "read",
    "read_expectations",
    "resolve",
    "row_count",
    "status",
    "unique",
    "verify",
]
