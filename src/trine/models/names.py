"""Names of models: any text but for what would make a reference ambiguous, and how other tools' names become such."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

NAME = r"(?!\.{1,2}$)(?=.*\S)(?:[^/:@%\x00-\x1f\x7f]|%(?:25|2F|3A|40|7F|[01][0-9A-F]))+"

LONGEST = 768

ModelName = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^{NAME}$(?!\n)",
        max_length=LONGEST,
        description="any characters but '/', ':', '@' and control characters; '%' is written %25; at most 768",
    ),
]
"""A model's name: `churn`, `Churn (EU), weekly`. In a reference `name@ref` the `@` is never part of it."""


def is_name(text: str) -> bool:
    """Whether a model can have that name."""
    return bool(re.fullmatch(NAME, text)) and len(text) <= LONGEST


def fitting_name(told: str) -> str:
    """Another tool's name as a model of Trine has it: what may not be in one is written as in a URL (`a@b`: `a%40b`)."""
    found = re.sub(r"[/:@%\x00-\x1f\x7f]", lambda one: f"%{ord(one[0]):02X}", told)[:LONGEST]
    return found if is_name(found) else "model"


def told_name(name: str) -> str:
    """The other tool's name again."""
    return re.sub(r"%([0-9A-F]{2})", lambda one: chr(int(one[1], 16)), name)
