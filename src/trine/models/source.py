"""The `python` flavor: a plain function of rows, kept as its own source code, which everybody can read and compare.

Source is code. So it may say only what this file lists: arithmetic, and columns of Polars and NumPy, by name. What is not
listed (files, imports, attributes that lead to the interpreter) is refused when the function is registered, and again whenever
it is loaded. A function that needs more is kept as a pickle, which one has to ask for.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import math
import textwrap
import types
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from trine.errors import InvalidInput

if TYPE_CHECKING:
    from trine.models.flavors import Ask
    from trine.models.signature import Field

FILE = "model.py"

MODULES = ("math", "numpy", "polars")

BUILTINS = (
    "abs", "all", "any", "bool", "dict", "enumerate", "filter", "float", "int", "isinstance", "len", "list", "map", "max",
    "min", "range", "reversed", "round", "set", "sorted", "str", "sum", "tuple", "zip", "ValueError",
)  # fmt: skip

NAMES = frozenset(
    """
    abs all alias any append arange arg_max arg_min argmax argmin argsort array asarray astype backward_fill between
    bool bool_ Boolean cast ceil clip col collect column columns column_stack concat concat_list concat_str contains
    copy cos cosh count cum_count cum_max cum_min cum_sum cumsum date Date datetime Datetime day days DataFrame
    dates diff dim dot drop drop_nans drop_nulls dt dtype e element empty ends_with ends_with eq equals exp expm1
    explode extract eye fill_nan fill_null filter first flatten float32 float64 Float32 Float64 floor floordiv
    forward_fill full full_like ge get get_column group_by gt hour hours head height hstack hypot implode inf int32
    int64 Int16 Int32 Int64 Int8 interp is_between is_duplicated is_empty is_finite is_first_distinct is_in
    is_infinite is_nan is_not_nan is_not_null is_null is_unique isfinite isin isinf isnan item items join keys last
    le len len_chars len_bytes list lit log log10 log1p log2 logical_and logical_not logical_or lower lt lstrip
    map_dict max max_horizontal maximum mean mean_horizontal median min min_horizontal minimum minute mod month mul
    n_unique name nan nanmax nanmean nanmin ndim ne neg not_ nulls_last ones ones_like or_ otherwise over pi pow
    prod quantile rank ravel rename repeat replace replace_strict reshape reverse rolling_max rolling_mean
    rolling_min rolling_std rolling_sum round rstrip search_sorted searchsorted second select Series shape shift
    sigmoid sign sin sinh size slice sort sort_by split sqrt square stack startswith starts_with std str strftime
    String strip strip_chars strptime struct sub sum sum_horizontal swapaxes T tail take tan tanh then tile to_date
    to_datetime to_dict to_frame to_list to_lowercase to_numpy to_series to_uppercase tolist top_k transpose truediv
    trunc UInt16 UInt32 UInt64 UInt8 unique upper value_counts values var vstack week weekday when where width
    with_columns xor year zeros zeros_like erf erfc degrees radians gamma lgamma fabs fsum isclose tau linalg norm
    """.split()  # noqa: SIM905
)
"""Attributes that a function may name: what computes with columns, and reaches nothing else."""

_STATEMENTS = (
    ast.FunctionDef, ast.Return, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.For, ast.If, ast.Expr, ast.Pass, ast.Raise,
    ast.Break, ast.Continue, ast.Import,
)  # fmt: skip
_EXPRESSIONS = (
    ast.BoolOp, ast.NamedExpr, ast.BinOp, ast.UnaryOp, ast.Lambda, ast.IfExp, ast.Dict, ast.Set, ast.ListComp, ast.SetComp,
    ast.DictComp, ast.GeneratorExp, ast.Compare, ast.Call, ast.JoinedStr, ast.FormattedValue, ast.Constant, ast.Attribute,
    ast.Subscript, ast.Starred, ast.Name, ast.List, ast.Tuple, ast.Slice,
)  # fmt: skip
_PARTS = (
    ast.Module, ast.arguments, ast.arg, ast.keyword, ast.comprehension, ast.alias, ast.expr_context, ast.operator,
    ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip


class SourceFlavor:
    """It gets a Polars frame (or what it was registered with) and answers a value a row, or columns by name."""

    name = "python"
    pickles = False
    forms: Mapping[str, str] = {FILE: "text"}

    def matches(self, native: Any) -> bool:
        return isinstance(native, types.FunctionType)

    def save(self, native: Any) -> dict[str, bytes]:
        files = {FILE: _source(native).encode()}
        self.check(files)
        return files

    def load(self, files: Mapping[str, bytes]) -> Any:
        text = files[FILE].decode()
        self.check(files)
        space: dict[str, Any] = {
            "__builtins__": {name: getattr(builtins, name) for name in BUILTINS} | {"__import__": _import}
        }
        try:
            exec(compile(ast.parse(text), FILE, "exec"), space)
        except InvalidInput:
            raise
        except Exception as error:
            raise InvalidInput(f"{FILE} of the model does not run: {type(error).__name__}: {error}.") from error
        return space[_function(ast.parse(text))]

    def check(self, files: Mapping[str, bytes]) -> None:
        """Raise InvalidInput that names the line of whatever is not allowed."""
        try:
            tree = ast.parse(files[FILE].decode())
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise InvalidInput(f"{FILE} of the model is no Python: {error}.") from None
        problems = sorted(set(_problems(tree)))
        if problems:
            line, what = problems[0]
            raise InvalidInput(
                f"Line {line} of the function's source has {what}, which is not among what is safe to run. "
                "Compute with columns alone, or keep it as a pickle, which can run any code when it is loaded: "
                'flavor="pickle", allow_pickle=True.',
                refused=[each for _, each in problems],
            )
        _function(tree)

    def classes(self, native: Any) -> tuple[Any, ...]:
        return ()

    def outputs(self, native: Any) -> tuple[Field, ...]:
        return ()

    def ask(self, native: Any) -> Ask:
        from trine.models.pickled import answers_of

        return lambda rows: answers_of(native(rows))

    def bare(self, native: Any) -> Any | None:
        return None

    def libraries(self) -> tuple[str, ...]:
        return ("polars", "numpy")


def _import(name: str, *_: Any) -> Any:
    if name not in MODULES:
        raise InvalidInput(f'The model\'s source imports "{name}"; it may import {", ".join(MODULES)}.')
    return __import__(name)


def _problems(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines, and what on them is not allowed."""
    for one in ast.walk(tree):
        line = getattr(one, "lineno", 1)
        if not isinstance(one, _STATEMENTS + _EXPRESSIONS + _PARTS):
            yield line, f'"{type(one).__name__}"'
        elif isinstance(one, ast.Attribute) and one.attr not in NAMES:
            yield line, f'".{one.attr}"'
        elif isinstance(one, ast.Attribute) and not isinstance(one.ctx, ast.Load):
            yield line, f'a new value for ".{one.attr}"'
        elif isinstance(one, ast.Name) and (one.id in _NEVER or one.id.startswith("__")):
            yield line, f'"{one.id}"'
        elif isinstance(one, ast.Import):
            yield from ((line, f'"import {each.name}"') for each in one.names if each.name not in MODULES)
        elif isinstance(one, ast.FunctionDef) and (one.decorator_list or one.name.startswith("__")):
            yield line, "a decorator, or a name of Python's own"


_NEVER = frozenset(dir(builtins)) - {*BUILTINS, "None", "True", "False"}


def _function(tree: ast.Module) -> str:
    """The function that answers: the last one, after what it uses."""
    *before, last = tree.body or [ast.Pass()]
    if not isinstance(last, ast.FunctionDef) or not all(
        isinstance(one, (ast.FunctionDef, ast.Import, ast.Assign)) for one in before
    ):
        raise InvalidInput(
            f"{FILE} of the model has to be imports, constants and functions, the one that answers last."
        )
    for one in before:
        if isinstance(one, ast.Assign) and not _is_constant(one.value):
            raise InvalidInput(f"Line {one.lineno} of {FILE} computes something before it is asked.")
    return last.name


def _is_constant(value: ast.AST) -> bool:
    try:
        ast.literal_eval(value)  # pyright: ignore[reportArgumentType]
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _source(function: Any) -> str:
    """The source of a function as a module of its own: what it imports, its constants, the functions it calls, itself."""
    parts: dict[str, str] = {}
    _collect(function, parts, [])
    head = "\n".join(text for text in parts.values() if not text.startswith("def "))
    return "\n\n\n".join([head, *(text.rstrip() for text in parts.values() if text.startswith("def "))]).strip() + "\n"


def _collect(function: Any, parts: dict[str, str], above: list[str]) -> None:
    name = function.__name__
    if name == "<lambda>":
        raise InvalidInput("A lambda has no name to be kept by: write the function with def.")
    if function.__closure__:
        raise InvalidInput(
            f"{name} uses {', '.join(function.__code__.co_freevars)} of the function around it: make that an argument's default, or a constant."
        )
    try:
        text = textwrap.dedent(inspect.getsource(function)).rstrip() + "\n"
    except (OSError, TypeError) as error:
        raise InvalidInput(f"The source of {name} is not to be found ({error}): put it into a file.") from error
    for used in _globals_of(function.__code__):
        if used in parts or used in above or used in BUILTINS or used not in function.__globals__:
            continue
        value = function.__globals__[used]
        if isinstance(value, types.ModuleType):
            parts[used] = f"import {value.__name__}" + (f" as {used}" if used != value.__name__ else "")
        elif isinstance(value, types.FunctionType):
            _collect(value, parts, [*above, name])
        elif _is_plain(value):
            parts[used] = f"{used} = {value!r}"
        else:
            raise InvalidInput(
                f"{name} uses {used}, a {type(value).__name__}: a function is kept with modules ({', '.join(MODULES)}), "
                "other functions and plain constants only."
            )
    parts[name] = text


def _globals_of(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from _globals_of(one)


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value) is not frozenset and bool(value) and all(map(_is_plain, value))
    if type(value) is dict:
        return all(_is_plain(part) for pair in value.items() for part in pair)
    return value is None or type(value) in (bool, int, str)
