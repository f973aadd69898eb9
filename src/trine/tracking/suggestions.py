"""What a program learns when a sweep started it: the values to train with, and the run that is its trial.

The first run that it starts is the trial's; the values come from `suggested`.
"""

from __future__ import annotations

import json
import os
from typing import Any

RUN, VALUES = "TRINE_RUN", "TRINE_SUGGESTED"


class _Taken:
    """Whether this process has begun its trial."""

    run = False


def suggested(**defaults: Any) -> dict[str, Any]:
    """The values to train with: the defaults, and over them what a sweep suggests when one started this program.

    `suggested(lr=1e-3, depth=6)`, used outside of a sweep, is just those.
    """
    return defaults | json.loads(os.environ.get(VALUES, "{}"))


def take_run() -> str:
    """The run of the trial, once; else nothing."""
    given = os.environ.get(RUN, "")
    if not given or _Taken.run:
        return ""
    _Taken.run = True
    return given
