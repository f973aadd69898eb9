"""The scan at registration: a version may hold the files that its flavor has, in the forms that they have, and nothing else.

What the files say of themselves is not believed: which flavor may have which file is in the flavors' code. Everything that is
not allowed is named.
"""

from __future__ import annotations

import fnmatch
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from trine.errors import InvalidInput, TrineError
from trine.models.artifact import ANSWERS, EXAMPLE, read_files, read_manifest
from trine.models.flavors import flavors
from trine.models.forms import FORMS
from trine.models.versions import Manifest
from trine.storage import Store

SCANNED = 1_000
"""Artifacts whose scan this process remembers: what was admitted stays so, since an artifact is its content."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\- ]{0,199}(/[A-Za-z0-9_][A-Za-z0-9_.\- ]{0,199}){0,8}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_ALWAYS = {EXAMPLE: "arrow", ANSWERS: "arrow"}
_COMPANIONS = {
    "MLmodel": "text", "conda.yaml": "text", "python_env.yaml": "text", "requirements.txt": "text",
    "input_example.json": "json", "serving_input_example.json": "json",
}  # fmt: skip
"""What MLflow writes beside a model's own files; none of it is loaded."""


_admitted: OrderedDict[str, None] = OrderedDict()
_lock = threading.Lock()


def admitted(store: Store, artifact: str) -> Manifest:
    """The manifest of an artifact whose files are all there and were scanned. Raises InvalidInput.

    A client asks for this first, so that registering, which holds the ledger, finds the scan done.
    """
    manifest = read_manifest(store, artifact)
    with _lock:
        known = artifact in _admitted
    if not known:
        scan(manifest, read_files(store, manifest, f"Artifact {artifact[:12]}"))
        with _lock:
            _admitted[artifact] = None
            while len(_admitted) > SCANNED:
                _admitted.popitem(last=False)
    return manifest


def scan(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Raise InvalidInput that names every file that may not be in the version, and why."""
    flavor = flavors().get(manifest.flavor)
    if flavor is None:
        raise InvalidInput(
            f'The model is of flavor "{manifest.flavor}", which no package installed here brings, so it cannot be looked into. '
            f"Flavors: {', '.join(flavors())}."
        )
    if flavor.pickles != manifest.pickled:
        raise InvalidInput(f'A version of flavor "{manifest.flavor}" cannot say pickled={manifest.pickled} of itself.')
    problems = [*_bad_names([one.path for one in manifest.files])]
    forms: Mapping[str, str] | None = getattr(flavor, "forms", None)
    if forms and "MLmodel" in files and not forms.keys() <= files.keys():
        forms = getattr(flavor, "mlflow_forms", forms)
    if forms is not None and not problems:
        beside = _COMPANIONS if "MLmodel" in files else {}
        problems = [*_bad_files(files, {**forms, **_ALWAYS}, beside)]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InvalidInput(f"The model is refused: {problems[0]}{more}.", refused=problems)
    check: Any = getattr(flavor, "check", None)
    if check is None:
        return
    try:
        check(files)
    except InvalidInput:
        raise
    except TrineError as error:
        raise InvalidInput(f"The model is refused: {error.message}", refused=[error.message]) from error


def _bad_names(names: list[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        parts = name.split("/")
        if not _NAME.fullmatch(name) or any(one.endswith((".", " ")) or _RESERVED.match(one) for one in parts):
            yield f'"{name}" is no name for a file of a model'
        if name.casefold() in seen:
            yield f'"{name}" is there twice'
        seen.add(name.casefold())


def _bad_files(files: Mapping[str, bytes], forms: Mapping[str, str], beside: Mapping[str, str]) -> Iterator[str]:
    required = {name for name in forms if "*" not in name and name not in (EXAMPLE, ANSWERS, "vocab.txt", "merges.txt")}
    for name in sorted(required - set(files)):
        yield f'"{name}" is missing'
    for name, data in files.items():
        form = (
            forms.get(name)
            or beside.get(name)
            or next((kind for pattern, kind in forms.items() if fnmatch.fnmatchcase(name, pattern)), None)
        )
        if form is None:
            yield f'"{name}" is none of the files that such a model has'
        elif problem := FORMS[form](data):
            yield f'"{name}" is {problem}'
