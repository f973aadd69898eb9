"""Moving in from DVC: what the `.dvc` files and `dvc.lock` of a repository track, at each of its git commits.

A `.dvc` file and a stage in `dvc.lock` name outputs by MD5; a folder's is the MD5 of a JSON list of its files, and ends with
`.dir`. The bytes are in `.dvc/cache` or in a remote: as `files/md5/ab/cdef…`, and as `ab/cdef…` before DVC 3, which took the
MD5 of text files with their line ends as `\\n`.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import yaml

from trine.data.importers.intake import Files, Intake, Source, Taken
from trine.data.importers.writer import Imported, Version, write_history
from trine.data.repository import Repository
from trine.data.trees import Entry, check_path
from trine.errors import InvalidInput, NotFound, TrineError
from trine.storage.places import Folder, open_place
from trine.workspace import Workspace, current_workspace

DIR = ".dir"
LARGEST = 64 << 20
"""Bytes of a file that says what is tracked."""


class Output(msgspec.Struct, frozen=True):
    """A tracked file or folder: its path in the repository, and its MD5 (`….dir` for a folder)."""

    path: str
    md5: str
    executable: bool = False
    is_old: bool = False
    """Whether DVC before version 3 took the MD5."""


class State(msgspec.Struct, frozen=True):
    """The outputs at one git commit (or as they are now, outside git), by path."""

    outputs: Mapping[str, Output]
    message: str
    author: str
    time_us: int
    code: str = ""
    tags: tuple[str, ...] = ()


class _Listed(msgspec.Struct, frozen=True):
    md5: str
    relpath: str
    isexec: bool = False


Tell = Callable[[str], None]


def import_dvc(
    folder: Path | str = ".",
    *,
    rev: str = "HEAD",
    names: Mapping[str, str] | None = None,
    only: str = "",
    branch: str = "main",
    tell: Tell | None = None,
    ws: Workspace | None = None,
) -> list[Imported]:
    """Each file and folder that DVC tracks becomes a dataset; each git commit up to `rev` that changed it, a version.

    Along the first parents, so each version is what the branch had. `names` gives datasets other names than their path
    with `-` for `/`; `only` takes one path. A version whose bytes are neither in the cache nor in a remote is left out and
    told in the problems, as is damage: each file's MD5 is checked while it is stored.
    """
    ws = ws or current_workspace()
    root = Path(folder).resolve()
    if not (root / ".dvc").is_dir():
        raise NotFound(f"There is no DVC repository in {root}: it would hold a folder .dvc.")
    states = list(_states(root, rev))
    paths = sorted({path for one in states for path in one.outputs if not only or path == only})
    if not paths:
        where = f"DVC tracks no {only}" if only else "DVC tracks nothing"
        raise NotFound(f"{where} in {root} up to {rev}.")
    files = _Finder(ws, root)
    done: list[Imported] = []
    for path in paths:
        if tell:
            tell(path)
        name = (names or {}).get(path) or path.replace("/", "-").lstrip(".-")
        versions, problems = files.versions(path, states)
        if not versions and not problems:
            continue  # nothing of it is DVC's
        done.append(write_history(ws, name, versions, branch=branch, problems=problems))
        files.intake.save()
    return done


# -- what is tracked ------------------------------------------------------------------------------------------------


def _states(root: Path, rev: str) -> Iterator[State]:
    """The outputs at each commit that changed what DVC tracks, oldest first; without git, as they are now."""
    repository = Repository.around(root)
    if repository is None or not repository.tries("rev-parse", "--verify", "--quiet", "HEAD"):
        yield _state_now(root)
        return
    prefix = root.relative_to(repository.root).as_posix() + "/"
    prefix = prefix.removeprefix("./")
    tags = repository.tags()
    history = list(repository.states(repository.commit_of(rev), lambda path: path.startswith(prefix) and _says(path)))
    texts = repository.blobs((blob for one in history for blob in one.blobs.values()), largest=LARGEST)
    read: dict[tuple[str, str], list[Output]] = {}
    for one in history:
        outputs: dict[str, Output] = {}
        for path, blob in one.blobs.items():
            if (path, blob) not in read:
                text = texts.get(blob, b"").decode(errors="replace")
                read[path, blob] = list(_outputs(path.removeprefix(prefix), text, f"{path} of {one.commit[:12]}"))
            outputs |= {output.path: output for output in read[path, blob]}
        names = tuple(name.replace("/", "-") for name in tags.get(one.commit, ()))
        yield State(outputs, one.message, one.author, one.time_us, one.commit, names)


def _says(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name == "dvc.lock" or (name.endswith(".dvc") and name != ".dvc")


def _state_now(root: Path) -> State:
    outputs: dict[str, Output] = {}
    changed = 0.0
    for folder, folders, names in os.walk(root):
        folders[:] = [one for one in folders if one not in (".dvc", ".git", ".trine")]
        for name in names:
            path = Path(folder, name)
            if _says(name):
                relative = path.relative_to(root).as_posix()
                outputs |= {one.path: one for one in _outputs(relative, path.read_text(errors="replace"), relative)}
                changed = max(changed, path.stat().st_mtime)
    return State(outputs, "imported from DVC", "", int(changed * 1_000_000))


def _outputs(path: str, text: str, where: str) -> Iterator[Output]:
    """What a `.dvc` file or a `dvc.lock` tracks. Raises InvalidInput naming it when it is neither."""
    try:
        told = yaml.safe_load(text) or {}
        folder = PurePosixPath(path).parent
        if path.rpartition("/")[2] == "dvc.lock":
            stages = told.get("stages", told)  # the first form had no schema and no `stages`
            lists = [stage.get("outs", []) for name, stage in stages.items() if name != "schema"]
        else:
            folder = folder / told.get("wdir", ".")
            lists = [told.get("outs", [])]
        for out in (out for outs in lists for out in outs):
            if md5 := out.get("md5"):
                where_ = os.path.normpath(folder / out["path"])
                if not where_.startswith(("..", "/")):  # data outside the repository has no name in it
                    yield Output(where_, md5, bool(out.get("isexec")), out.get("hash") != "md5")
    except (yaml.YAMLError, AttributeError, TypeError, KeyError) as error:
        raise InvalidInput(f"{where} is no file of DVC's: {error}.") from None


# -- the bytes ------------------------------------------------------------------------------------------------------


class _Finder:
    """Finds what is tracked in the cache and the remotes of a repository, and takes it in."""

    def __init__(self, ws: Workspace, root: Path) -> None:
        self.intake = Intake(ws, "md5")
        self._ws = ws
        self._root = root
        self._repository = Repository.around(root)
        self._places = list(_places(root))
        self._folders: dict[str, list[_Listed] | None] = {}
        self._problems: list[str] = []

    def versions(self, path: str, states: list[State]) -> tuple[list[Version], list[str]]:
        """The versions of one output, and what was wrong with those that cannot be had."""
        self._problems = []
        found: list[Version] = []
        last = None
        for one in states:
            output = one.outputs.get(path)
            if output is None:
                continue
            if last and output == last:
                if one.tags:
                    found[-1] = msgspec.structs.replace(found[-1], tags=(*found[-1].tags, *one.tags))
                continue
            entries = self._entries(output, one)
            if not entries and self._is_code(path, one):
                self._problems.pop()  # an output that DVC is told not to cache: git has it
            if entries:
                author = one.author or self._ws.principal.name
                found.append(Version(entries, one.message, author, one.time_us, one.code, one.tags))
                last = output
        return found, self._problems

    def _is_code(self, path: str, state: State) -> bool:
        if not state.code or self._repository is None:
            return False
        inside = (self._root / path).relative_to(self._repository.root).as_posix()
        return self._repository.file_at(state.code, inside) is not None

    def _entries(self, output: Output, state: State) -> list[Entry] | None:
        when = f" (at {state.code[:12]})" if state.code else ""
        if not output.md5.endswith(DIR):
            taken = self._take({output.md5: output.is_old})
            if found := taken.get(output.md5):
                return [Entry(output.path.rpartition("/")[2], *found, output.executable)]
            return self._missing(output, when, [output.md5])
        listed = self._listed(output)
        if listed is None:
            return self._missing(output, when, [output.md5])
        taken = self._take({one.md5: output.is_old for one in listed})
        if missing := [one.md5 for one in listed if one.md5 not in taken]:
            return self._missing(output, when, missing)
        return [Entry(check_path(one.relpath), *taken[one.md5], one.isexec) for one in listed]

    def _missing(self, output: Output, when: str, digests: list[str]) -> None:
        more = f", and {len(digests) - 1} more" if len(digests) > 1 else ""
        told = self.intake.problems.get(digests[0]) or f"{digests[0]} is neither in the cache nor in a remote"
        self._problems.append(f"{output.path}{when} was left out: {told}{more}")

    def _listed(self, output: Output) -> list[_Listed] | None:
        """The files of a folder; None when its list cannot be had."""
        if output.md5 not in self._folders:
            taken = self._take({output.md5: False})
            found = taken.get(output.md5)
            try:
                self._folders[output.md5] = (
                    msgspec.json.decode(self._ws.store.get(found[0]), type=list[_Listed]) if found else None
                )
            except msgspec.DecodeError as error:
                self._folders[output.md5] = None
                self.intake.problems[output.md5] = f"the list of files {output.md5} cannot be read: {error}"
        return self._folders[output.md5]

    def _take(self, digests: Mapping[str, bool]) -> dict[str, Taken]:
        """The files with these MD5s, from the first place that has each whole."""
        taken: dict[str, Taken] = {}
        for place in self._places:
            for form in ("files/md5/{0}/{1}", "{0}/{1}"):
                rest = {one: old for one, old in digests.items() if one not in taken}
                if not rest:
                    return taken
                taken |= self.intake.take(
                    {
                        one: Source(place, form.format(one[:2], one[2:]), one.removesuffix(DIR), old)
                        for one, old in rest.items()
                    }
                )
        return taken


def _places(root: Path) -> Iterator[Files]:
    """The cache, then the remotes that can be read, the default one first."""
    config = configparser.ConfigParser(interpolation=None, strict=False)
    config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"])
    options = {name.strip("'\""): dict(config[name]) for name in config.sections()}
    cache: dict[str, Any] = options.get("cache", {})
    yield Folder((root / ".dvc" / str(cache.get("dir", "cache"))).resolve())
    default = options.get("core", {}).get("remote", "")
    remotes = {name[len('remote "') : -1]: one for name, one in options.items() if name.startswith('remote "')}
    for name in sorted(remotes, key=lambda one: (one != default, one)):
        url = remotes[name].get("url", "")
        if "://" not in url:
            yield Folder((root / ".dvc" / url).resolve())
        elif url.startswith(("s3://", "gs://", "azure://", "az://", "file://")):
            try:
                yield open_place(url.replace("azure://", "az://"))
            except TrineError:
                continue  # a remote that cannot be opened here: what is only there is told as missing
