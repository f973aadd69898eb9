"""Working on very many small values at once."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Generator


@contextlib.contextmanager
def without_collector() -> Generator[None]:
    """Pause the cyclic garbage collector: while tens of thousands of entries come up that are all still needed, it would
    look through them again and again (a fifth of the time of an add)."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()
