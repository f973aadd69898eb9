"""Libraries that only some need: they come with an extra of the install, and are imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from trine.errors import InvalidInput


def need(module: str, *, extra: str, purpose: str) -> Any:
    """A library's module. Raises InvalidInput with the line that installs it, when it is not there."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        if missing != module.partition(".")[0]:
            raise  # the library is there, and broken
        raise InvalidInput(f"{purpose} needs {missing}: pip install 'trine[{extra}]'", extra=extra) from None
