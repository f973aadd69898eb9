"""Neptune (whose service ended in March 2026): the Parquet tables and files that its exporter wrote.

A table holds a row for each attribute of a run, or for each point of a series: project, run, path and type of the attribute,
step and time, and the value in the column of its type. Steps are decimals there: when a run has broken ones, all of its steps are
multiplied by the power of ten that makes them whole, which the tag `neptune.steps_times` tells.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trine.errors import InvalidInput, NotFound
from trine.ids import to_us
from trine.tracking.importers.source import (
    Source,
    SourceFile,
    SourceModel,
    SourceRun,
    columns,
    files_of,
    run_id,
    text_of,
)
from trine.tracking.series import Points

if TYPE_CHECKING:
    import polars as pl

NEEDED = {"project_id", "run_id", "attribute_path", "attribute_type", "step", "timestamp", "float_value"}
_VALUES = {
    "int": "int_value",
    "float": "float_value",
    "string": "string_value",
    "bool": "bool_value",
    "datetime": "datetime_value",
    "string_set": "string_set_value",
}


def open_source(where: str, options: Mapping[str, str]) -> Source:
    """What the exporter wrote: its folder, with data/ and files/ in it, or the one of the data."""
    path = Path(where).expanduser()
    tables = sorted((path / "data" if (path / "data").is_dir() else path).rglob("*.parquet"))
    if not tables:
        raise NotFound(f"There is no Parquet file below {where}: give the folder that neptune-exporter wrote to.")
    return Neptune(path, tables, options.get("experiment", ""))


class Neptune:
    """Runs of an export; without experiments of their own they belong to one of the project's name."""

    kind = "neptune"

    def __init__(self, place: Path, tables: list[Path], experiment: str) -> None:
        self.location, self.place, self.experiment = str(place), place, experiment
        self.tables: dict[tuple[str, str], list[Path]] = {}
        for table in tables:
            for name in _names(table):
                self.tables.setdefault(name, []).append(table)

    def runs(self) -> Iterator[SourceRun]:
        """Runs by project and id."""
        names: dict[tuple[str, str], str] = {}
        for project, id in sorted(self.tables):
            names[project, id] = run_id("neptune", project, id)
        for (project, id), tables in sorted(self.tables.items()):
            yield self._run(project, id, _rows(tables, project, id), names)

    def models(self) -> Iterator[SourceModel]:
        """Nothing: what Neptune called models were runs of another kind."""
        return iter(())

    def _run(self, project: str, id: str, rows: pl.DataFrame, names: dict[tuple[str, str], str]) -> SourceRun:
        import polars as pl

        facts: dict[str, Any] = {}
        for kind, column in _VALUES.items():
            some = rows.filter(pl.col("attribute_type") == kind)
            if column in rows.columns:
                facts |= dict(zip(some["attribute_path"], some[column].to_list(), strict=True))
        points, factor = _series(rows.filter(pl.col("attribute_type") == "float_series"))
        problems: list[str] = []
        files = list(self._files(rows, problems))
        for kind, column in (("string_series", "string_value"), ("histogram_series", "histogram_value")):
            files += _lines(rows.filter(pl.col("attribute_type") == kind), column)
        own = {path.removeprefix("sys/"): value for path, value in facts.items() if path.startswith("sys/")}
        labels = [*(own.get("tags") or ()), *(own.get("group_tags") or ())]
        params = {path: value for path, value in facts.items() if not path.startswith("sys/")}
        tags = {"neptune.id": str(own.get("id") or id), "neptune.project": project, **dict.fromkeys(labels, "")}
        if factor > 1:
            tags["neptune.steps_times"] = str(factor)
        if own.get("description"):
            tags["neptune.description"] = str(own["description"])
        times = [int(time) for line in points.values() for time in (line.times.min(), line.times.max())]
        started, ended = _us(own.get("creation_time")), _us(own.get("modification_time"))
        return SourceRun(
            id=names[project, id],
            experiment=self.experiment or str(own.get("experiment/name") or own.get("name") or project),
            name=str(own.get("custom_run_id") or own.get("name") or id),
            state="failed" if own.get("failed") else "finished",
            started_us=started or min(times, default=0),
            ended_us=max(ended, *times) if times else ended or started,
            parent=names.get((project, str(own.get("forking/parent") or ""))),
            author=str(own.get("owner") or ""),
            params={path: _text(value) for path, value in params.items() if value is not None},
            tags=tags,
            points=points,
            files=list({file.path: file for file in files}.values()),
            problems=problems,
        )

    def _files(self, rows: pl.DataFrame, problems: list[str]) -> Iterator[SourceFile]:
        import polars as pl

        if "file_value" not in rows.columns:
            return
        wanted = rows.filter(pl.col("attribute_type").is_in(["file", "file_set", "file_series", "artifact"]))
        for row in wanted.iter_rows(named=True):
            value: Any = row["file_value"]
            if not value or not value.get("path"):
                continue
            found = next((one for one in self._places(row["project_id"], value["path"]) if one.exists()), None)
            name = row["attribute_path"].strip("/")
            if row["step"] is not None:
                name = f"{name}/{row['step'].normalize():f}"
            if found is None:
                problems.append(f"File {value['path']} is not in {self.place / 'files'}.")
            elif found.is_dir():
                yield from files_of(found, f"{name}/")
            else:
                ending = "" if name.endswith(found.suffix) else found.suffix
                yield SourceFile(name + ending, local=found)

    def _places(self, project: str, path: str) -> Iterator[Path]:
        """Where a file of the export can be; never out of it."""
        root = self.place.resolve()
        for above in (self.place, self.place.parent):
            for below in ("files", f"files/{project}", f"files/{project.replace('/', '_')}", "."):
                found = above / below / path
                if found.resolve().is_relative_to(root.parent if above != self.place else root):
                    yield found


def _names(table: Path) -> list[tuple[str, str]]:
    """The runs of a table. Raises InvalidInput for one that the exporter did not write."""
    import polars as pl

    try:
        scan = pl.scan_parquet(table)
        missing = NEEDED - set(scan.collect_schema().names())
        if missing:
            raise InvalidInput(f"{table} is no table of neptune-exporter: it has no column {min(missing)}.")
        return [tuple(row) for row in scan.select("project_id", "run_id").unique().collect().rows()]  # pyright: ignore[reportReturnType]
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"{table} cannot be read: {str(error).splitlines()[0]}") from None


def _rows(tables: list[Path], project: str, id: str) -> pl.DataFrame:
    import polars as pl

    mine = (pl.col("project_id") == project) & (pl.col("run_id") == id)
    return pl.concat(
        [pl.read_parquet(table).filter(mine) for table in sorted(tables, key=_part)], how="diagonal_relaxed"
    )


def _part(table: Path) -> tuple[str, int]:
    """Tables of a run end in part_0, part_1, …"""
    name, _, number = table.stem.rpartition("_")
    return (str(table.parent / name), int(number)) if number.isdigit() else (str(table), 0)


def _series(rows: pl.DataFrame) -> tuple[dict[str, Points], int]:
    """Points by path, and by what their steps were multiplied."""
    import numpy as np
    import polars as pl

    if not rows.height:
        return {}, 1
    steps = rows["step"].cast(pl.Float64).fill_null(0).to_numpy()
    factor = next((10**power for power in range(6) if _whole(steps * 10**power)), 10**6)
    times = rows["timestamp"].dt.epoch("us").fill_null(0).to_numpy()
    values = rows["float_value"].fill_null(float("nan")).to_numpy()
    whole = columns(np.rint(steps * factor), times, values)
    places = rows.select("attribute_path").with_row_index("at").group_by("attribute_path", maintain_order=True).all()
    return {path: whole.take(np.asarray(at)) for path, at in places.iter_rows()}, factor


def _whole(steps: Any) -> bool:
    import numpy as np

    return bool(np.all(np.abs(steps - np.rint(steps)) < 1e-7 * np.maximum(1, np.abs(steps))))


def _lines(rows: pl.DataFrame, column: str) -> Iterator[SourceFile]:
    """Series of texts or histograms as files, a line for each step."""
    if column not in rows.columns:
        return
    for (path,), some in rows.group_by("attribute_path", maintain_order=True):
        lines = [
            msgspec.json.encode({"step": float(row["step"] or 0), "time": row["timestamp"], "value": row[column]})
            for row in some.iter_rows(named=True)
        ]
        yield SourceFile(f"{str(path).strip('/')}.jsonl", data=b"\n".join(lines))


def _us(value: Any) -> int:
    return to_us(value) if isinstance(value, dt.datetime) else 0


def _text(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return value if isinstance(value, str) else text_of(value)
