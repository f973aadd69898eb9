"""Traces that could not be kept when they ended: they wait in files beside the workspace, and go with the next one that can."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path

import msgspec

from trine.errors import Failure, TrineError
from trine.ids import new_id
from trine.llm import operations as door
from trine.llm.spans import Span, pack
from trine.workspace import Workspace

MOST_WAITING = 10_000
"""Traces that wait; beyond that, new ones are lost, and it is said."""


class _Waiting(msgspec.Struct, frozen=True):
    project: str
    experiment: str
    run: str
    spans: bytes


def keep(ws: Workspace, spans: list[Span], experiment: str, run: str) -> None:
    """Keep spans, and those that waited; what cannot be kept now waits, what is refused is told. Never raises."""
    packed = b""
    try:
        packed = pack(spans)
        ship(ws, packed, experiment, run)
    except TrineError as error:
        if isinstance(error, Failure) and packed:
            keep_for_later(ws, packed, experiment, run, error.message)
        else:
            warnings.warn(f"A trace was lost: {error.message}", stacklevel=3)
    except Exception as error:  # whatever goes wrong on the way to a server or disk
        if packed:
            keep_for_later(ws, packed, experiment, run, f"{error}.")
        else:
            warnings.warn(f"A trace was lost: {error}.", stacklevel=3)


def ship(ws: Workspace, packed: bytes, experiment: str, run: str) -> None:
    """Keep spans in the workspace, then those that wait. Raises when they cannot be kept."""
    door.record_spans(ws, spans=packed, experiment_name=experiment or None, run=run)
    flush(ws)


def keep_for_later(ws: Workspace, packed: bytes, experiment: str, run: str, problem: str) -> None:
    """Let spans wait; when even that is not possible, say that they are lost."""
    folder = _folder(ws)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if sum(1 for _ in folder.iterdir()) >= MOST_WAITING:
            raise OSError(f"{MOST_WAITING:,} traces wait already")
        draft = folder / f"{new_id()}.new"
        draft.write_bytes(msgspec.msgpack.encode(_Waiting(ws.project, experiment, run, packed)))
        os.replace(draft, draft.with_suffix(".trace"))
        warnings.warn(f"A trace waits in {folder}: {problem} It goes with the next one.", stacklevel=2)
    except OSError as error:
        warnings.warn(f"A trace was lost: {problem} ({error})", stacklevel=2)


def flush(ws: Workspace) -> int:
    """Keep the traces that wait; gives how many still do."""
    folder = _folder(ws)
    if not folder.is_dir():
        return 0
    files = sorted(folder.glob("*.trace"))
    for at, file in enumerate(files):
        try:
            one = msgspec.msgpack.decode(file.read_bytes(), type=_Waiting)
        except FileNotFoundError:
            continue  # another process was quicker
        except (msgspec.DecodeError, OSError):
            with suppress(OSError):
                file.rename(file.with_suffix(".damaged"))
            continue
        try:
            there = ws if one.project == ws.project else ws.for_project(one.project)
            door.record_spans(there, spans=one.spans, experiment_name=one.experiment or None, run=one.run)
        except Failure:
            return len(files) - at
        except TrineError as error:
            warnings.warn(f"A trace that waited was refused: {error.message}", stacklevel=2)
            with suppress(OSError):
                file.rename(file.with_suffix(".refused"))
            continue
        file.unlink(missing_ok=True)
    return 0


def _folder(ws: Workspace) -> Path:
    return ws.spool / "traces"
