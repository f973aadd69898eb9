"""Settings: defaults < nearest `.trine/config.toml` < `[tool.trine]` < `TRINE_*` environment < arguments; the later wins."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trine.errors import InvalidInput, nearest

FOLDER = ".trine"

DEFAULTS: dict[str, str] = {
    "workspace": "",
    "store": "",
    "project": "default",
    "token": "",
}
"""Every setting with its default. `workspace` empty means the nearest `.trine/` folder, upwards from here."""

SECRETS = frozenset({"token"})


@dataclass(frozen=True)
class Setting:
    """One setting: its value and the place that set it."""

    name: str
    value: str
    source: str

    @property
    def shown(self) -> str:
        return "…" if self.name in SECRETS and self.value else self.value


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

    def put(values: Mapping[str, Any], source: str) -> None:
        for name, value in values.items():
            if name not in DEFAULTS:
                raise InvalidInput(
                    f'Unknown setting "{name}" in {source}.{nearest(name, DEFAULTS)} Known: {", ".join(DEFAULTS)}.'
                )
            if not isinstance(value, str):
                raise InvalidInput(f'Setting "{name}" in {source} must be text, not {type(value).__name__}.')
            entries[name] = Setting(name, value, source)

    folder = find_workspace(here)
    if folder is not None:
        entries["workspace"] = Setting("workspace", str(folder), f"nearest {FOLDER} folder")
        if (config := folder / "config.toml").is_file():
            put(_toml(config), str(config))
    project = next((p / "pyproject.toml" for p in parents(here) if (p / "pyproject.toml").is_file()), None)
    if project is not None:
        put(_toml(project).get("tool", {}).get("trine", {}), f"{project} [tool.trine]")
    known = {f"TRINE_{name.upper()}": name for name in DEFAULTS}
    for variable, name in known.items():
        if os.environ.get(variable):
            put({name: os.environ[variable]}, f"environment variable {variable}")
    put({name: value for name, value in arguments.items() if value is not None}, "argument")
    return Settings(entries)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not valid TOML: {error}.") from error
