"""Aim: its databases are RocksDB's, which only aim itself reads. A Python that has aim is started to write what a repository holds
to a pipe; it may be of another environment than Trine's (`--python`), so nothing has to be installed beside Trine.

The pipe carries JSON lines: `{"run": {...}}`, then `{"key": …, "steps": …, "times": …, "values": …}` for each sequence of that
run in hexadecimal little-endian columns, then the next run, and at the end `{"end": true}`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trine.errors import InvalidInput, NotFound
from trine.tracking.importers.source import Source, SourceFile, SourceModel, SourceRun, columns, flat, run_id
from trine.tracking.runs import Context
from trine.tracking.series import Points

READER = """
import array, json, os, sys
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever aim prints goes where it does no harm
try:
    from aim import Repo
except ImportError:
    sys.exit(7)

def plain(value):
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)

def told(**values):
    out.write(json.dumps(values) + chr(10))

def sequence(tree, version):
    at, values = tree.array("val").sparse_numpy()
    steps = at if version == 1 else tree.array("step").sparse_numpy()[1]
    times = tree.array("time").sparse_numpy()[1]
    times = times if len(times) == len(values) else [0.0] * len(values)
    rows = ((int(step), float(time or 0), value) for step, time, value in zip(steps, times, values))
    return sorted(rows, key=lambda row: row[:2])

repo = Repo(sys.argv[1])
for hash in sorted(repo.list_all_runs()):
    meta = repo.request_tree("meta", hash, read_only=True).subtree(("meta", "chunks", hash)).collect()
    series = repo.request_tree("seqs", hash, read_only=True).subtree("seqs")
    props = repo.request_props(hash, True)
    facts = {"hash": hash, "name": props.name, "experiment": props.experiment, "description": props.description}
    facts.update(tags=list(props.tags or ()), archived=bool(props.archived), created=props.creation_time)
    told(run=dict(facts, ended=meta.get("end_time"), attributes=plain(meta.get("attrs") or {})))
    contexts, left = meta.get("contexts") or {}, set()
    for place, traces in (meta.get("traces") or {}).items():
        context = contexts.get(place) or {}
        for name, about in traces.items():
            version, kind = about.get("version", 1), about.get("dtype", "float")
            tree = series.subtree(("chunks", hash) if version == 1 else ("v%d" % version, "chunks", hash))
            key = name + (" " + ", ".join("%s=%s" % pair for pair in sorted(context.items())) if context else "")
            if kind in ("float", "float64", "int", "int64", "number"):
                rows = sequence(tree.subtree((place, name)), version)
                columns = [array.array(code, one) for code, one in zip("qdd", zip(*rows))] or [b""] * 3
                told(key=key, **{at: bytes(one).hex() for at, one in zip(("steps", "times", "values"), columns)})
            elif kind == "aim.text":
                rows = sequence(tree.subtree((place, name)), version)
                told(texts=key, rows=[[step, time, str(getattr(text, "data", text))] for step, time, text in rows])
            else:
                left.add(kind)
    told(left=sorted(left))
told(end=True)
out.flush()
"""


def open_source(where: str, options: Mapping[str, str]) -> Source:
    """The repository in a folder; the option `python` names the Python that has aim."""
    path = Path(where).expanduser()
    path = path.parent if path.name == ".aim" else path
    if not (path / ".aim").is_dir():
        raise NotFound(f"There is no Aim repository in {where}: give the folder that holds .aim.")
    return Aim(path, options.get("python") or sys.executable)


class Aim:
    """Runs of a repository. A metric's context follows its name: `loss subset=val`."""

    kind = "aim"

    def __init__(self, place: Path, python: str) -> None:
        self.location, self.place, self.python = str(place), place, python

    def runs(self) -> Iterator[SourceRun]:
        """Runs by hash."""
        run: dict[str, Any] | None = None
        points: dict[str, Points] = {}
        texts: dict[str, list[Any]] = {}
        left: list[str] = []
        for line in self._lines():
            if "run" in line or "end" in line:
                if run is not None:
                    yield _made(run, points, texts, left)
                run, points, texts, left = line.get("run"), {}, {}, []
            elif "key" in line:
                points[re.sub("^__system__", "system/", line["key"])] = _points(line)
            elif "texts" in line:
                texts[line["texts"]] = line["rows"]
            else:
                left = line["left"]

    def _lines(self) -> Iterator[dict[str, Any]]:
        """What the other Python tells. Raises InvalidInput when it has no aim, or ends before it said that it was done."""
        with tempfile.TemporaryFile() as noise:
            command = [str(Path(self.python).expanduser()), "-c", READER, str(self.place)]
            try:
                process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=noise)
            except OSError as error:
                raise InvalidInput(f"{self.python} cannot be started: {error.strerror}.") from None
            with process:
                assert process.stdout is not None
                ended = False
                for line in process.stdout:
                    found = msgspec.json.decode(line, type=dict[str, Any])
                    ended |= "end" in found
                    yield found
            noise.seek(0)
            said = noise.read().decode(errors="replace").strip().splitlines()
            if process.returncode == 7:
                raise InvalidInput(
                    f"Only aim reads its databases, and {self.python} has no aim. Name a Python that has it: "
                    "--python path/to/its/bin/python"
                )
            if not ended:
                raise InvalidInput(f"aim could not read {self.place}: {said[-1] if said else 'it said nothing'}")

    def models(self) -> Iterator[SourceModel]:
        """Nothing: Aim has no registry."""
        return iter(())


def _points(line: dict[str, Any]) -> Points:
    import numpy as np

    steps, times, values = (
        np.frombuffer(bytes.fromhex(line[name]), kind)
        for name, kind in (("steps", "<i8"), ("times", "<f8"), ("values", "<f8"))
    )
    return columns(steps, np.rint(times * 1e6), values)


def _made(run: dict[str, Any], points: dict[str, Points], texts: dict[str, list[Any]], left: list[str]) -> SourceRun:
    attributes: dict[str, Any] = run["attributes"]
    system = attributes.pop("__system_params", {})
    created, ended = run["created"] or 0.0, run["ended"]
    tags = {"aim.hash": run["hash"], "aim.description": run["description"] or "", **dict.fromkeys(run["tags"], "")}
    files = [
        SourceFile(f"texts/{name.strip('/')}.jsonl", data=b"\n".join(msgspec.json.encode(row) for row in rows))
        for name, rows in texts.items()
    ]
    return SourceRun(
        id=run_id("aim", run["hash"]),
        experiment=run["experiment"] or "default",
        name=run["name"] or run["hash"],
        state="finished" if ended else "killed",
        reason="" if ended else "it did not say how it ended",
        started_us=round(created * 1e6),
        ended_us=round(ended * 1e6) if ended else None,
        hidden=run["archived"],
        params=dict(pair for key, value in attributes.items() for pair in flat(value, key)),
        tags={key: value for key, value in tags.items() if value or not key.startswith("aim.")},
        points=points,
        files=files,
        context=Context(arguments=[str(one) for one in system.get("arguments", [])][:50]),
        problems=[f"{what} of run {run['name'] or run['hash']} are left out." for what in left],
    )
