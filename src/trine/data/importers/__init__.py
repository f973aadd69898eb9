"""Moving datasets in from other tools, with their history: versions keep their times, authors and messages.

What an import makes depends on its source alone, so the same import again adds nothing, and goes on where the source did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trine.data.importers.writer import Imported

if TYPE_CHECKING:
    from trine.data.importers.buckets import import_bucket
    from trine.data.importers.delta import import_delta
    from trine.data.importers.dvc import import_dvc
    from trine.data.importers.git_lfs import import_git_lfs
    from trine.data.importers.hugging_face import import_hugging_face

__all__ = ["Imported", "import_bucket", "import_delta", "import_dvc", "import_git_lfs", "import_hugging_face"]


def __getattr__(name: str) -> Any:
    """Loaded when asked for: each importer needs something else."""
    import importlib

    homes = {
        "import_bucket": "buckets",
        "import_delta": "delta",
        "import_dvc": "dvc",
        "import_git_lfs": "git_lfs",
        "import_hugging_face": "hugging_face",
    }
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{homes[name]}"), name)
