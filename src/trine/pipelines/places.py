"""Where code is: a pipeline's entry (`file.py:name`, `module:name`), and types by name. Found again in another process."""

from __future__ import annotations

import functools
import importlib
import site
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from trine.errors import InvalidInput, NotFound, nearest


@functools.cache
def _foreign_folders() -> tuple[str, ...]:
    names = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    users = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return tuple({str(Path(one).resolve()) + "/" for one in [*names, *users, str(Path(__file__).parents[1])] if one})


def is_local(module: ModuleType | None) -> bool:
    """Whether a module is the user's own: no library, no part of Python or Trine."""
    file = getattr(module, "__file__", None)
    if module is None or module.__name__.partition(".")[0] in sys.builtin_module_names:
        return False
    if file is None:  # a session, a notebook
        return module.__name__ == "__main__"
    return is_local_file(file)


def is_local_file(file: str) -> bool:
    """Whether a file is the user's own code."""
    return file.endswith(".py") and not str(Path(file).resolve()).startswith(_foreign_folders())


def module_name(module: str) -> str:
    """A module's name as others import it: `flights` for `python flights.py`."""
    if module == "__main__":
        main = sys.modules["__main__"]
        if (spec := getattr(main, "__spec__", None)) is not None:
            return spec.name.removesuffix(".__main__")
        if file := getattr(main, "__file__", None):
            return _dotted(Path(file).resolve())[0]
    return module


def import_named(name: str) -> ModuleType:
    """The module of that name; the program's own file counts under its importable name."""
    if name not in sys.modules and name == module_name("__main__"):
        return sys.modules["__main__"]
    return importlib.import_module(name)


def named(name: str) -> Any:
    """What `module:Qualified.Name` stands for."""
    module, _, path = name.partition(":")
    found: Any = import_named(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def name_of(thing: Any) -> str:
    """`module:Qualified.Name` of a class or function."""
    return f"{module_name(thing.__module__)}:{thing.__qualname__}"


def entry_of(pipeline: Any, base: Path | None) -> str:
    """Where a pipeline is found again, or nothing for one that only this session has.

    Files inside `base` are named relative to it, so that a checkout may move.
    """
    module = sys.modules.get(pipeline.function.__module__)
    names = [name for name, value in vars(module).items() if value is pipeline] if module else []
    if not names:
        return ""
    file = getattr(module, "__file__", None)
    if not is_local(module) or file is None:
        return f"{module_name(pipeline.function.__module__)}:{names[0]}" if file else ""
    path = Path(file).resolve()
    shown = path.relative_to(base) if base and path.is_relative_to(base) else path
    return f"{shown}:{names[0]}"


def load_entry(entry: str, base: Path | None = None) -> Any:
    """The pipeline at `file.py:name` or `module:name`. Relative files are looked for here, then in `base`."""
    from trine.pipelines.pipelines import Pipeline

    place, _, name = entry.rpartition(":")
    if not place or not name:
        raise InvalidInput(f'"{entry}" is no pipeline: write file.py:name or module:name.')
    module = load_place(place, base)
    found = getattr(module, name, None)
    if not isinstance(found, Pipeline):
        known = [one for one, value in vars(module).items() if isinstance(value, Pipeline)]
        told = f" It has: {', '.join(known)}." if known else " It has none: decorate a function with @pipeline."
        raise NotFound(f'{place} has no pipeline "{name}".{nearest(name, known)}{told}')
    return found


def load_place(place: str, base: Path | None = None) -> ModuleType:
    """The module that `file.py` or `module` is. Relative files are looked for here, then in `base`."""
    return _load_file(place, base) if place.endswith(".py") else _load_module(place)


def _load_module(name: str) -> ModuleType:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise NotFound(f'There is no module "{name}". For a file, write its path: {name}.py:…') from None
        raise InvalidInput(f"{name} cannot be loaded: {error}.") from error


def _load_file(place: str, base: Path | None) -> ModuleType:
    tries = [Path(place), *([base / place] if base else [])]
    path = next((one.resolve() for one in tries if one.is_file()), None)
    if path is None:
        raise NotFound(f"There is no file {tries[-1]}. Name the one the pipeline is in: file.py:name")
    dotted, root = _dotted(path)
    for name in (dotted, "__main__"):
        loaded = sys.modules.get(name)
        file = getattr(loaded, "__file__", None)
        if loaded and file and Path(file).resolve() == path:
            return loaded
        if loaded and name != "__main__":
            raise InvalidInput(f'A module "{dotted}" is loaded already, from {file}; {path} needs another name.')
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        return importlib.import_module(dotted)
    except Exception as error:
        raise InvalidInput(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error


def _dotted(path: Path) -> tuple[str, Path]:
    """A file's module name, and the folder it is imported from: above the outermost package it is in."""
    parts, folder = [path.stem], path.parent
    if path.stem == "__init__":
        parts = []
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts), folder
