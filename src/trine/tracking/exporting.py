"""Moving out: runs as an `mlruns` folder that MLflow reads, or as Parquet tables that anything reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from trine.errors import Conflict, InvalidInput, nearest
from trine.ids import digest
from trine.tracking import artifact_files, logged_models
from trine.tracking.experiment import ExperimentInfo, all_experiments
from trine.tracking.operations import PointsPage
from trine.tracking.runs import RunInfo
from trine.workspace import Workspace, current_workspace

if TYPE_CHECKING:
    import polars as pl

FORMS = ("mlflow", "parquet")
PAGE = 100_000
"""Points that are read in one call."""


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What was written, and where."""

    folder: str
    form: str
    runs: int
    points: int
    artifacts: int


def export_runs(
    form: str, folder: Path | str, expression: str = "", *, experiment: str = "", ws: Workspace | None = None
) -> Exported:
    """Write runs for which an expression is true (all without one) into a folder that is new or empty.

    `mlflow` gives an `mlruns` folder (runs keep their ids; times are milliseconds there), `parquet` the tables runs, params, tags,
    metrics (summaries), points and artifacts, whose files are below artifacts/. Raises Conflict when the folder holds something.
    """
    ws = ws or current_workspace()
    target = Path(folder)
    if form not in FORMS:
        raise InvalidInput(f'There is no export "{form}".{nearest(form, FORMS)} Exports: {", ".join(FORMS)}.')
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Conflict(f"{target} is there already and not empty. Name a folder that is new.")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InvalidInput(f"{target.parent} is not a folder: nothing can be written below it.") from None
    write = _to_mlflow if form == "mlflow" else _to_parquet
    runs, points, artifacts = write(ws, target, list(_runs(ws, expression, experiment)))
    return Exported(folder=str(target), form=form, runs=runs, points=points, artifacts=artifacts)


def _runs(ws: Workspace, expression: str, experiment: str) -> Iterator[RunInfo]:
    from trine.operations import every
    from trine.tracking import operations as door
    from trine.tracking.spool import collect

    collect(ws)
    yield from every(door.search_runs, ws, expression=expression, experiment_name=experiment)


def _points(ws: Workspace, one: RunInfo, key: str) -> Iterator[PointsPage]:
    """All points of a metric in order of arrival, page by page."""
    from trine.tracking import operations as door

    start: int | None = 0
    while start is not None:
        page = door.read_points(ws, id=one.id, key=key, start=start, limit=PAGE)
        yield page
        start = page.next


# -- MLflow -----------------------------------------------------------------------------------------------------------

_MODEL_STATUS = {"pending": 1, "ready": 2, "failed": 3}
_STATUS = {"running": 1, "scheduled": 2, "finished": 3, "failed": 4, "killed": 5}


def _to_mlflow(ws: Workspace, root: Path, runs: list[RunInfo]) -> tuple[int, int, int]:
    points = files = 0
    about = {one.name: one for one in all_experiments(ws)}
    for first in range(0, len(runs), 100):
        some = runs[first : first + 100]
        links = {one.run: one for one in logged_models.list_links(ws, runs=[one.id for one in some])}
        for one in some:
            experiment = _experiment(root, about[one.experiment])
            files += _links(ws, experiment, one, links[one.id])
            moved = _run(ws, experiment, one)
            points, files = points + moved[0], files + moved[1]
    return len(runs), points, files


def _experiment(root: Path, about: ExperimentInfo) -> Path:
    folder = root / _experiment_id(about.name)
    if not folder.exists():
        state = "active" if about.deleted_us is None else "deleted"
        facts = {"artifact_location": folder_uri(folder), "experiment_id": folder.name, "name": about.name}
        facts |= {"creation_time": about.created_us // 1_000, "last_update_time": about.updated_us // 1_000}
        write_texts(folder / "tags", about.tags)
        write_meta(folder, facts | {"lifecycle_stage": state})
    return folder


def _run(ws: Workspace, experiment: Path, one: RunInfo) -> tuple[int, int]:
    folder = experiment / one.id
    files = len(artifact_files.download_artifacts(one, folder / "artifacts", ws=ws))
    (folder / "artifacts").mkdir(parents=True, exist_ok=True)
    tags = one.tags if one.parent is None else {"mlflow.parentRunId": one.parent, **one.tags}
    if one.code:
        tags = {"mlflow.source.git.commit": one.code.removeprefix("code:").partition("+")[0], **tags}
    write_texts(folder / "params", one.params)
    write_texts(folder / "tags", {"mlflow.runName": one.name, "mlflow.user": one.author, **tags})
    (folder / "metrics").mkdir()
    points = sum(_metric(_file(folder / "metrics", key), _points(ws, one, key)) for key in one.metrics)
    ended = None if one.ended_us is None else one.ended_us // 1_000
    about = {"run_id": one.id, "run_uuid": one.id, "run_name": one.name, "experiment_id": experiment.name}
    about |= {"status": _STATUS[one.state], "start_time": one.started_us // 1_000, "end_time": ended}
    about |= {"user_id": one.author, "lifecycle_stage": "active", "artifact_uri": folder_uri(folder / "artifacts")}
    about |= {"source_type": 4, "source_name": "", "entry_point_name": "", "source_version": "", "tags": []}
    write_meta(folder, about)  # last: MLflow takes a folder for a run when it has this
    return points, files


def _links(ws: Workspace, experiment: Path, one: RunInfo, links: logged_models.RunLinks) -> int:
    """The data that a run said it read, and the models it wrote, with their files; gives how many."""
    for put in links.inputs:
        name = digest([put.name, put.digest])[:32]
        facts = {
            field: getattr(put, field) for field in ("name", "digest", "source_type", "source", "schema", "profile")
        }
        write_meta(experiment / "datasets" / name, facts)
        ends = {"source_type": "DATASET", "source_id": name, "destination_type": "RUN", "destination_id": name}
        write_meta(experiment / one.id / "inputs" / name, ends | {"tags": put.tags})
    files = 0
    for link in links.models:
        made = logged_models.get_logged_model(ws, id=link.model)
        folder = experiment / "models" / made.id
        if link.role == "output":
            ends = {"source_type": "RUN_OUTPUT", "source_id": made.id, "destination_type": "MODEL_OUTPUT"}
            ends |= {"destination_id": made.id, "step": link.step, "tags": {}}
            write_meta(experiment / one.id / "outputs" / made.id, ends)
        if made.run != one.id or folder.exists():
            continue
        stored = logged_models.list_model_files(ws, id=made.id)
        for file in stored:
            ws.store.get_file(file.hash, folder / "artifacts" / artifact_files.check_path(file.path))
        (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        files += len(stored)
        write_texts(folder / "params", made.params)
        write_texts(folder / "tags", made.tags)
        (folder / "metrics").mkdir()
        facts = {"model_id": made.id, "name": made.name, "model_type": made.kind or None, "source_run_id": one.id}
        facts |= {"experiment_id": experiment.name, "artifact_location": folder_uri(folder / "artifacts")}
        facts |= {"creation_timestamp": made.created_us // 1_000, "last_updated_timestamp": made.updated_us // 1_000}
        write_meta(folder, facts | {"status": _MODEL_STATUS[made.state], "status_message": made.reason or None})
    return files


def _experiment_id(name: str) -> str:
    """The number that stands for an experiment: MLflow's default is 0, others have 18 digits."""
    return "0" if name == "Default" else str(10**17 + int(digest(name.encode())[:14], 16) % (9 * 10**17))


def folder_uri(folder: Path) -> str:
    """A folder as MLflow names it."""
    return "file://" + quote(str(folder.resolve()))


def write_meta(folder: Path, about: dict[str, Any]) -> None:
    """The file that makes a folder an experiment, a run, a model or a version of one."""
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.yaml").write_text(yaml.safe_dump(about, allow_unicode=True))


def _file(folder: Path, key: str) -> Path:
    """The file of a key; one that would leave the folder, or is too long for a file system, has a name that stands for it."""
    parts = key.split("/")
    if any(part in ("", ".", "..") or len(part.encode()) > 250 for part in parts):
        parts = [f"{quote(key, safe='')[:200]}~{digest(key.encode())[:12]}"]
    path = folder.joinpath(*parts)
    if path.is_dir() or any(above.is_file() for above in path.parents if above.is_relative_to(folder)):
        path = folder / f"{quote(key, safe='')[:200]}~{digest(key.encode())[:12]}"  # `a` and `a/b` are both keys
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_texts(folder: Path, texts: dict[str, str]) -> None:
    """Params or tags, a file for each."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, text in texts.items():
        _file(folder, key).write_text(text)


def _metric(path: Path, pages: Iterable[PointsPage]) -> int:
    count = 0
    with path.open("w") as file:
        for page in pages:
            rows = zip(page.times_us, page.values, page.steps, strict=True)
            file.writelines(f"{time // 1_000} {value!r} {step}\n" for time, value, step in rows)
            count += len(page.steps)
    return count


# -- Parquet ----------------------------------------------------------------------------------------------------------

ROWS = 1_000_000
"""Points of one Parquet file of the table points, about."""


def _to_parquet(ws: Workspace, root: Path, runs: list[RunInfo]) -> tuple[int, int, int]:
    import polars as pl

    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in ("runs", "params", "tags", "metrics", "artifacts")}
    writing = _Points(root / "points")
    for one in runs:
        plain = msgspec.to_builtins(one)
        tables["runs"].append(plain | {"host": one.context.host, "arguments": one.context.arguments})
        for name in ("params", "tags"):
            tables[name] += [{"run": one.id, "key": key, "value": text} for key, text in getattr(one, name).items()]
        for key, summary in one.metrics.items():
            tables["metrics"].append({"run": one.id, "key": key, **msgspec.structs.asdict(summary)})
            for page in _points(ws, one, key):
                writing.add(one.id, key, page)
        for file in artifact_files.artifacts(one, ws=ws):
            path = root / "artifacts" / one.id / artifact_files.check_path(file.path)
            ws.store.get_file(file.hash, path)
            tables["artifacts"].append({"run": one.id, **msgspec.structs.asdict(file)})
    writing.close()
    for name, rows in tables.items():
        columns = _schemas()[name]
        kept = [{column: row.get(column) for column in columns} for row in rows]
        _timed(pl.DataFrame(kept, schema=columns)).write_parquet(root / f"{name}.parquet")
    return len(runs), writing.count, len(tables["artifacts"])


def _timed(frame: pl.DataFrame) -> pl.DataFrame:
    """Microseconds as times."""
    import polars as pl

    times = [name for name in frame.columns if name.endswith("_us")]
    moments = [pl.col(name).cast(pl.Datetime("us", "UTC")).alias(name.removesuffix("_us")) for name in times]
    return frame.with_columns(moments).drop(times)


class _Points:
    """The table of points, in files that do not grow without bound."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.files = folder, 0, 0
        self.frames: list[pl.DataFrame] = []
        self.size = 0
        folder.mkdir()

    def add(self, run: str, key: str, page: PointsPage) -> None:
        import polars as pl

        columns = {"step": page.steps, "time_us": page.times_us, "value": page.values}
        schema = {"step": pl.Int64, "time_us": pl.Int64, "value": pl.Float64}
        frame = pl.DataFrame(columns, schema=schema)
        self.frames.append(_timed(frame.select(pl.lit(run).alias("run"), pl.lit(key).alias("key"), pl.all())))
        self.size += frame.height
        self.count += frame.height
        if self.size >= ROWS:
            self.close()

    def close(self) -> None:
        import polars as pl

        if self.frames or not self.files:
            schema: dict[str, Any] = {"run": pl.String, "key": pl.String, "step": pl.Int64, "value": pl.Float64}
            schema["time"] = pl.Datetime("us", "UTC")
            whole = pl.concat(self.frames) if self.frames else pl.DataFrame(schema=schema)
            whole.write_parquet(self.folder / f"{self.files:05}.parquet")
            self.files += 1
            self.frames, self.size = [], 0


def _schemas() -> dict[str, dict[str, Any]]:
    """The columns of each table, so that they are there and of their types when there are no rows."""
    import polars as pl

    text, whole, number, texts = pl.String, pl.Int64, pl.Float64, pl.List(pl.String)
    moments = {"started_us": whole, "ended_us": whole, "deleted_us": whole}
    names = ("id", "experiment", "name", "state", "reason", "parent", "author")
    pair = {"run": text, "key": text, "value": text}
    steps = {f"{part}_step": whole for part in ("first", "last", "min", "max", "best")}
    values = dict.fromkeys(("first", "last", "min", "max", "best"), number)
    return {
        "runs": dict.fromkeys(names, text)
        | moments
        | {"lost": whole, "code": text, "inputs": texts, "outputs": texts}
        | {"host": text, "arguments": texts},
        "params": pair,
        "tags": pair,
        "metrics": {"run": text, "key": text, "count": whole, "nans": whole, **steps, **values, "last_us": whole},
        "artifacts": {"run": text, "path": text, "hash": text, "size_bytes": whole, "created_us": whole},
    }
