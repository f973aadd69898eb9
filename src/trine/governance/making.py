"""What a card says of a version's making: purpose, artifact, data, code and run."""

from __future__ import annotations

from shlex import quote

from trine.data import operations as datasets
from trine.data.commits import Commit
from trine.data.profiles import Profile, shown
from trine.data.reading import profile_of
from trine.errors import NotFound
from trine.governance.document import Section, Table, Value, declared, evidenced, missing, moment, tables_of
from trine.ledger.origins import Origin
from trine.models.versions import ModelInfo, ModelVersion
from trine.tracking import operations as tracking
from trine.tracking.runs import RunInfo
from trine.workspace import Workspace

SAYINGS = {
    "description": "what it does",
    "intended_use": "what it is for, and who uses it",
    "out_of_scope": "what it must not be used for",
    "limits": "where it is known to be weak",
    "ethics": "whom it can harm, and what is done about it",
    "owner": "who answers for it",
    "license": "under which terms it may be used",
}
"""What only people can say, and what each is about: the description, and tags of the version or of the model."""


def purpose(version: ModelVersion, model: ModelInfo) -> Section:
    """What people have said; a version's own words come before those of its model."""
    said = {**model.tags, **version.tags, "description": version.description or model.description}
    values: list[Value] = []
    for name, about in SAYINGS.items():
        option = '--description "…"' if name == "description" else f'--tag {name}="…"'
        hint = f"say {about} (trine models edit {quote(version.ref)} {option})"
        values.append(declared(name.replace("_", " "), said.get(name, ""), hint))
    return Section(title="Purpose", values=tuple(values))


def artifact(version: ModelVersion) -> Section:
    """The model itself: what it is, takes and gives."""
    node = version.node
    libraries = ", ".join(f"{name} {number}" for name, number in sorted(version.libraries.items()))
    values = {
        "version": version.ref,
        "registered": f"{moment(version.created_us)} by {version.author}",
        "kind": " ".join(filter(None, (version.estimator, f"({version.flavor})"))),
        "inputs": ", ".join(f"{one.name}: {one.dtype}" for one in version.signature.inputs),
        "outputs": ", ".join(f"{one.name}: {one.dtype}" for one in version.signature.outputs),
        "classes": ", ".join(map(str, version.classes)),
        "artifact": f"{version.artifact}, {version.size_bytes:,} bytes",
        "loading it runs code": "yes, it is kept as a pickle" if version.pickled else "no",
        "libraries": libraries,
    }
    return Section(title="Model", values=tuple(evidenced(name, value, node) for name, value in values.items() if value))


def training_data(ws: Workspace, version: ModelVersion, origin: Origin) -> Section:
    """The commit it was trained on, column by column, and the source data that this was made of."""
    commit = _commit(ws, version.data)
    hint = "register inside a run that loads the training data with trine.load"
    values = (
        [missing("training data", hint)]
        if commit is None
        else [
            evidenced("training data", commit.ref, commit.node),
            evidenced(
                "rows", f"{commit.rows:,}" if commit.rows is not None else f"{commit.files:,} files", commit.node
            ),
            _checks(commit),
        ]
    )
    tables: list[Table] = []
    if commit is not None and commit.profile:
        columns = _columns(profile_of(ws, commit), commit.node)
        tables.append(columns)
    rows = [_source(one) for node in sorted(origin.sources) if (one := _commit(ws, node)) is not None]
    header = ("dataset", "rows", "checks", "committed", "evidence")
    return Section(title="Data", values=tuple(values), tables=(*tables, *tables_of("Source data", header, rows)))


def _columns(profile: Profile, node: str) -> Table:
    rows = [
        (
            one.name,
            one.dtype,
            f"{one.nulls / one.count:.2%}" if one.count else "–",
            f"{one.distinct:,}",
            shown(one.min, one.dtype),
            f"{one.mean:.6g}" if one.mean is not None else "–",
            shown(one.max, one.dtype),
        )
        for one in profile.columns
    ]
    header = ("column", "type", "missing", "distinct", "min", "mean", "max")
    return Table(title="Columns of the training data", header=header, rows=tuple(rows), evidence=node)


def _source(one: Commit) -> tuple[str, ...]:
    size = f"{one.rows:,}" if one.rows is not None else f"{one.files:,} files"
    return one.ref, size, _checked(one) or "none", f"{moment(one.created_us)} by {one.author}", one.node


def _checks(commit: Commit) -> Value:
    told = _checked(commit)
    hint = "commit the data with expectations (checks=…)"
    return evidenced("expectations", told, commit.node) if told else missing("expectations", hint)


def _checked(commit: Commit) -> str:
    if not commit.checks:
        return ""
    failed = [one.name for one in commit.checks if not one.passed]
    return f"{len(commit.checks) - len(failed)} of {len(commit.checks)} hold" + (
        f"; not {', '.join(failed)}" if failed else ""
    )


def training(ws: Workspace, version: ModelVersion, origin: Origin) -> Section:
    """How it was made: code, run, params and metrics."""
    run = _run(ws, version.run)
    values = [_code(ws, origin)]
    if run is None:
        values.append(missing("run", "train and register inside: with trine.run(): …"))
    else:
        took = f", {run.duration_s:.3g} s" if run.duration_s is not None else ""
        values.append(
            evidenced("run", f"{run.name} of experiment {run.experiment} by {run.author}, {run.state}", run.node)
        )
        values.append(evidenced("started", moment(run.started_us) + took, run.node))
        if run.context.python:
            values.append(evidenced("python", run.context.python, run.node))
    step = next(iter(origin.steps), "")
    hint = "train in a step of a pipeline (trine pipeline run FILE.py:NAME)"
    values.append(evidenced("pipeline step", step.partition("/")[2], step) if step else missing("pipeline step", hint))
    values += [evidenced("features", one.partition(":")[2], one) for one in origin.features]
    return Section(title="Training", values=tuple(values), tables=_recorded(run))


def _recorded(run: RunInfo | None) -> tuple[Table, ...]:
    if run is None:
        return ()
    params = [(name, value) for name, value in sorted(run.params.items())]
    metrics = [(name, f"{one.last:.6g}", str(one.count)) for name, one in sorted(run.metrics.items())]
    return (
        *tables_of("Params", ("param", "value"), params, run.node),
        *tables_of("Metrics of the run", ("metric", "last value", "points"), metrics, run.node),
    )


def _code(ws: Workspace, origin: Origin) -> Value:
    if not origin.code:
        return missing("code", "train inside a git repository with a commit")
    told = f"commit {origin.commit}"
    try:
        code = tracking.get_code(ws, node=origin.code)
        told += f" on {code.branch}" if code.branch else ""
    except NotFound:
        pass
    return evidenced("code", told + (", with changes that are in no commit" if origin.is_dirty else ""), origin.code)


def _commit(ws: Workspace, node: str) -> Commit | None:
    if not node.startswith("dataset:"):
        return None
    name, _, ref = node.removeprefix("dataset:").partition("@")
    try:
        return datasets.get_commit(ws, name=name, ref=ref)
    except NotFound:  # deleted since
        return None


def _run(ws: Workspace, run: str) -> RunInfo | None:
    try:
        return tracking.get_run(ws, id=run) if run else None
    except NotFound:  # recorded elsewhere
        return None
