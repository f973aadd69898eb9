"""Settings: defaults < nearest `.trine/config.toml` < `[tool.trine]` < `TRINE_*` environment < arguments; the later wins.

A relative path in a file is relative to the folder it is about: the one that holds `.trine/` or `pyproject.toml`.
The token of a server is the one `trine login` kept, unless a setting names another.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trine.errors import Failure, InvalidInput, nearest

FOLDER = ".trine"

DEFAULTS: dict[str, str] = {
    "workspace": "",
    "store": "",
    "project": "default",
    "token": "",
}
"""Every setting with its default. `workspace` empty means the nearest `.trine/` folder, upwards from here."""

PLACES = frozenset({"workspace", "store"})
SECRETS = frozenset({"token"})
PROJECT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}")


@dataclass(frozen=True)
class Setting:
    """One setting: its value and the place that set it."""

    name: str
    value: str
    source: str

    @property
    def shown(self) -> str:
        """The value for people: secrets are hidden, the password in a database's URL too."""
        if self.name in SECRETS:
            return "…" if self.value else ""
        return re.sub(r"(?<=://)([^/@:]*):[^/]*@", r"\1:…@", self.value)


@dataclass(frozen=True)
class Settings:
    """All settings, each with its source."""

    entries: Mapping[str, Setting]

    def __getitem__(self, name: str) -> str:
        return self.entries[name].value

    def __iter__(self) -> Iterator[Setting]:
        return iter(self.entries.values())


def parents(start: Path) -> Iterator[Path]:
    """`start` and the folders above it."""
    yield from (start, *start.parents)


def find_workspace(start: Path | None = None) -> Path | None:
    """The nearest `.trine` folder, upwards from `start` (default: the working folder)."""
    here = (start or Path.cwd()).resolve()
    return next((folder / FOLDER for folder in parents(here) if (folder / FOLDER).is_dir()), None)


def resolve(start: Path | None = None, **arguments: str | None) -> Settings:
    """Settings as they hold in a folder, with arguments on top (None: not given).

    Raises InvalidInput for an unknown setting or a value that is not text, naming the file.
    """
    here = (start or Path.cwd()).resolve()
    entries = {name: Setting(name, value, "default") for name, value in DEFAULTS.items()}

    def put(values: Any, source: str, folder: Path | None = None) -> None:
        if not isinstance(values, Mapping):
            raise InvalidInput(f"{source} has to be a table of settings.")
        for name, value in values.items():  # pyright: ignore[reportUnknownVariableType]
            entries[name] = _checked(name, value, source, folder)  # pyright: ignore[reportUnknownArgumentType]

    folder = find_workspace(here)
    if folder is not None:
        entries["workspace"] = Setting("workspace", str(folder), f"nearest {FOLDER} folder")
        if (config := folder / "config.toml").is_file():
            put(_toml(config), str(config), folder.parent)
    project = next((p / "pyproject.toml" for p in parents(here) if (p / "pyproject.toml").is_file()), None)
    if project is not None and isinstance(tools := _toml(project).get("tool", {}), Mapping):
        put(tools.get("trine", {}), f"{project} [tool.trine]", project.parent)
    for name in DEFAULTS:
        variable = f"TRINE_{name.upper()}"
        if os.environ.get(variable):
            put({name: os.environ[variable]}, f"environment variable {variable}")
    put({name: value for name, value in arguments.items() if value is not None}, "argument")
    if not entries["token"].value and (kept := _kept_tokens().get(entries["workspace"].value.rstrip("/"))):
        entries["token"] = Setting("token", kept, "trine login")
    return Settings(entries)


def _checked(name: str, value: Any, source: str, folder: Path | None) -> Setting:
    if name not in DEFAULTS:
        known = ", ".join(DEFAULTS)
        raise InvalidInput(f'Unknown setting "{name}" in {source}.{nearest(name, DEFAULTS)} Known: {known}.')
    if not isinstance(value, str):
        raise InvalidInput(f'Setting "{name}" in {source} must be text, not {type(value).__name__}.')
    if name == "project":
        check_project(value)
    if name in PLACES and folder is not None and value and "://" not in value:
        value = str(folder / Path(value).expanduser())
    return Setting(name, value, source)


def check_project(name: str) -> str:
    """The name, when it can be a project's. Raises InvalidInput."""
    if not PROJECT.fullmatch(name):
        raise InvalidInput(f"{name[:80]!r} is no name of a project: letters, digits, '_', '.' and '-', at most 200.")
    return name


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not valid TOML: {error}.") from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error


# -- tokens that `trine login` kept -----------------------------------------------------------------------------


def _token_file() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "trine" / "tokens.json"


def _kept_tokens() -> dict[str, str]:
    try:
        found = json.loads(_token_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # no file, no home: nothing was kept
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def kept_token(url: str) -> str:
    """The token that `trine login` kept for a server, or nothing."""
    return _kept_tokens().get(url.rstrip("/"), "")


def keep_token(url: str, token: str) -> Path:
    """Keep a server's token in a file that only this user can read; an empty one is forgotten."""
    path = _token_file()
    kept = {**_kept_tokens(), url.rstrip("/"): token}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump({name: value for name, value in kept.items() if value}, file, indent=2)
        temporary.replace(path)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}.") from error
    return path
