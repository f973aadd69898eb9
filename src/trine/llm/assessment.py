"""Assessments as values: what somebody (a person, a language model, code) says of a trace or of one of its spans."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from trine.tracking.runs import TagText

Source = Literal["human", "llm", "code", "unknown"]
Kind = Literal["feedback", "expectation", "issue"]

AssessmentName = Annotated[
    str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)", max_length=250, description="1 to 250 characters")
]
LONGEST_VALUE = 200_000
"""Bytes of an assessment as JSON."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why there is no value: what went wrong when it was to be found."""

    code: str
    message: str = ""
    trace_back: str = ""


class Assessment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was said: `feedback` on what was answered, or an `expectation` of what should have been. `valid` until another one
    `overrides` it."""

    id: str
    trace: str
    kind: Kind = "feedback"
    name: str
    value: Any = None
    problem: Problem | None = None
    rationale: str = ""
    source: Source = "human"
    source_id: str = ""
    span: str = ""
    run: str = ""
    metadata: dict[str, TagText] = {}
    overrides: str = ""
    valid: bool = True
    created_us: int = 0
    updated_us: int = 0
