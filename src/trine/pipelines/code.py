"""What code is: digests of a function and of all project code it names, so that a change anywhere in it is seen.

A function counts by its syntax tree without comments, docstrings and layout; when the file was edited since it was
loaded, or there is no file, by its bytecode. The names it uses are followed: the project's own functions, classes and
module constants and the values in its closure count by content, libraries by name only.
"""

from __future__ import annotations

import ast
import dataclasses
import dis
import enum
import functools
import importlib
import importlib.util
import inspect
import linecache
import re
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, cast, get_args

import msgspec

from trine.ids import digest
from trine.pipelines.kinds import hint
from trine.pipelines.pipelines import Pipeline
from trine.pipelines.places import is_local, is_local_file, module_name
from trine.pipelines.steps import Step
from trine.pipelines.values import Encoder

_HARMLESS = ("logging", "contextvars", "_contextvars", "_thread", "threading", "typing")
"""Modules of things that functions name and whose state does not decide results: loggers, locks, type variables."""


class Code:
    """The parts that a function's code consists of: a digest for each, by name; and what has no content, which forbids caching."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.parts: dict[str, str] = {}
        self.opaque: list[str] = []
        self._function(cast(types.FunctionType, function), root=True)

    @property
    def digest(self) -> str:
        return digest(self.parts)

    def _function(self, function: types.FunctionType, *, root: bool = False) -> None:
        label = f"{module_name(function.__module__)}.{function.__qualname__}"
        if label in self.parts:
            if "<" not in function.__qualname__:
                return
            label = f"{label} {digest(_tree(function))[:8]}"  # several lambdas or local functions share a name
            if label in self.parts:
                return
        self.parts[label] = digest(_tree(function))
        if not root:  # the defaults of the step itself are among its inputs
            for number, default in enumerate(
                [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
            ):
                self._thing(f"{label} default {number + 1}", default)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                self._thing(f"{label} closure {name}", cell.cell_contents)
            except ValueError:  # not assigned yet
                self.opaque.append(f'"{name}" of {label}')
        for name in function.__annotations__:
            self._hint(hint(function, name))
        for name, thing in _named(function):
            self._thing(f"{module_name(function.__module__)}.{name}", thing)

    def _hint(self, kind: Any) -> None:
        """Classes of the project in a hint: their methods are called on the values."""
        for part in get_args(kind):
            self._hint(part)
        if isinstance(kind, type) and is_local(sys.modules.get(kind.__module__)):
            self._class(kind)

    def _thing(self, label: str, thing: Any) -> None:
        if isinstance(thing, (Step, Pipeline)):
            self._function(cast(Any, thing).function)
        elif isinstance(thing, types.FunctionType):
            if is_local(sys.modules.get(thing.__module__)):
                self._function(thing)
            else:
                self.parts[label] = f"{thing.__module__}.{thing.__qualname__}"
        elif isinstance(thing, type):
            if is_local(sys.modules.get(thing.__module__)):
                self._class(thing)
            else:
                self.parts[label] = f"{thing.__module__}.{thing.__qualname__}"
        elif isinstance(thing, functools.partial):
            partial = cast("functools.partial[Any]", thing)
            self._thing(label, partial.func)
            self._thing(f"{label} arguments", [partial.args, partial.keywords])
        elif isinstance(inner := getattr(thing, "__wrapped__", None), types.FunctionType):
            self._thing(label, inner)
        elif isinstance(thing, (types.MethodType, types.BuiltinFunctionType)):
            self.parts[label] = thing.__qualname__
            if not isinstance(thing.__self__, types.ModuleType):
                self._thing(f"{label} of", thing.__self__)
        elif isinstance(thing, types.ModuleType):
            self.parts[label] = thing.__name__
        elif isinstance(thing, re.Pattern):
            self.parts[label] = repr(cast(Any, thing))
        elif type(thing).__module__ in _HARMLESS:
            self.parts[label] = type(thing).__qualname__
        else:
            self._content(label, thing)

    def _content(self, label: str, thing: Any) -> None:
        try:
            self.parts[label] = Encoder().value(thing).id
        except Exception:  # of whatever library the thing is from: then it has no content, and that is told
            if hasattr(thing, "__qualname__"):
                self.parts[label] = f"{thing.__module__}.{thing.__qualname__}"
            elif hasattr(thing, "get_params"):  # an estimator that is not fitted is its parameters
                self.parts[label] = f"{type(thing).__qualname__} {thing.get_params()}"
            else:
                self.opaque.append(f'"{label}", a {type(thing).__module__}.{type(thing).__qualname__}')

    def _class(self, kind: type) -> None:
        label = f"{module_name(kind.__module__)}.{kind.__qualname__}"
        if label in self.parts:
            return
        self.parts[label] = digest([f"{name}: {one}" for name, one in inspect.get_annotations(kind).items()])
        for one in kind.__bases__:
            self._thing(f"{label} base {one.__qualname__}", one)
        for name, default in _defaults(kind):
            self._member(f"{label}.{name} default", default)
        for name, member in vars(kind).items():
            if isinstance(member, property):
                for part in (member.fget, member.fset):
                    if part is not None:
                        self._thing(f"{label}.{name}", part)
            elif isinstance(member, (staticmethod, classmethod)):
                self._thing(f"{label}.{name}", cast(Any, member).__func__)
            elif isinstance(member, types.FunctionType):
                if is_local_file(member.__code__.co_filename):  # else some decorator made it from the fields
                    self._function(member)
            elif not (name.startswith("_") or _is_slot(member) or isinstance(member, kind)):
                self._member(f"{label}.{name}", member)

    def _member(self, label: str, member: Any) -> None:
        before = len(self.opaque)
        self._thing(label, member)
        if len(self.opaque) > before and not isinstance(member, (list, dict, set)):
            del self.opaque[before:]  # a descriptor of some library: its class body is what counts
            self.parts[label] = f"{type(member).__module__}.{type(member).__qualname__}"


def _defaults(kind: type) -> list[tuple[str, Any]]:
    """What the fields of a class of values are when they are not given: values, or the functions that make them; and the
    values of an enumeration."""
    if dataclasses.is_dataclass(kind):
        given = {field.name: (field.default, field.default_factory) for field in dataclasses.fields(kind)}
        return [(name, one) for name, both in given.items() for one in both if one is not dataclasses.MISSING]
    if issubclass(kind, msgspec.Struct):
        return [(field.name, field.default) for field in msgspec.structs.fields(kind) if not field.required]
    if issubclass(kind, enum.Enum):
        return [(name, member.value) for name, member in kind.__members__.items()]
    return list(getattr(kind, "_field_defaults", {}).items())


def _is_slot(member: Any) -> bool:
    return isinstance(member, (types.MemberDescriptorType, types.GetSetDescriptorType))


def _named(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """The global names that a function loads, with what they stand for now.

    Of the project's modules, whichever way they are imported, everything counts whose name the function mentions.
    """
    codes = list(_codes(function.__code__))
    mentioned = {name for code in codes for name in code.co_names}
    modules: list[types.ModuleType] = []
    for name, instruction in _instructions(codes):
        if instruction == "IMPORT_NAME":
            modules += _imported(name, function.__globals__.get("__package__") or "")
        elif name in function.__globals__:
            found = function.__globals__[name]
            if isinstance(found, types.ModuleType) and is_local(found):
                modules.append(found)
            else:
                yield name, found
    for module in modules:
        for name in sorted(mentioned & vars(module).keys()):
            yield f"{module.__name__}.{name}", vars(module)[name]


def _instructions(codes: list[types.CodeType]) -> list[tuple[str, str]]:
    wanted = ("LOAD_GLOBAL", "LOAD_NAME", "IMPORT_NAME")
    found = {
        (str(one.argval), "IMPORT_NAME" if one.opname == "IMPORT_NAME" else "")
        for code in codes
        for one in dis.get_instructions(code)
        if one.opname in wanted
    }
    return sorted(found)


def _imported(name: str, package: str) -> list[types.ModuleType]:
    """The project's modules that an import in a function's body may mean; libraries are not loaded for this."""
    modules: list[types.ModuleType] = []
    for full in dict.fromkeys([name, f"{package}.{name}".strip(".")]):
        try:
            spec = importlib.util.find_spec(full.partition(".")[0]) if full else None
            if spec is not None and spec.origin and is_local_file(spec.origin):
                modules.append(importlib.import_module(full))
        except (ImportError, ValueError):  # not there: then the step will say so
            continue
    return modules


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _tree(function: types.FunctionType) -> list[Any]:
    """A function's normalised syntax tree as text, or its bytecode."""
    found = _source(function.__code__)
    if found is not None:
        return ["tree", ast.unparse(found)]
    return ["bytecode", sys.version_info[:2], [_bytecode(code) for code in _codes(function.__code__)]]


def _bytecode(code: types.CodeType) -> list[Any]:
    plain = [repr(one) for one in code.co_consts if not isinstance(one, types.CodeType)]
    if plain and isinstance(code.co_consts[0], str):
        plain[0] = "None"  # the docstring
    return [code.co_code.hex(), plain, code.co_names, code.co_varnames, code.co_freevars]


def _source(code: types.CodeType) -> ast.AST | None:
    """The tree of loaded code, or None when its file says something else by now."""
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename))
    if not text:
        return None
    return _trees(code.co_filename, text).get(code)


@functools.lru_cache(maxsize=64)
def _trees(filename: str, text: str) -> dict[types.CodeType, ast.AST]:
    """The normalised trees of all functions of a file, by their code (which is equal only if the file was loaded as it is)."""
    try:
        tree = ast.parse(text)
        loaded = {
            (one.co_firstlineno, one.co_name): one for one in _codes(compile(tree, filename, "exec", dont_inherit=True))
        }
    except (SyntaxError, ValueError):
        return {}
    found: dict[types.CodeType, ast.AST] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            line = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            if (code := loaded.get((line, node.name))) is not None:
                found[code] = node
    for node in found.values():
        _normalise(node)
    return found


def _normalise(node: Any) -> None:
    """Drop what does not decide the result: docstrings, and the decorators that only say how a step is run."""
    if ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:] or [ast.Pass()]
    node.decorator_list = [one for one in node.decorator_list if not _is_ours(one)]


def _is_ours(decorator: ast.expr) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    name = target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""
    return name in ("step", "pipeline")
