from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from trine.pipelines.code import Code

BASE = """
    import dataclasses, enum, functools, logging, math
    from typing import NamedTuple
    import msgspec
    import numpy as np
    from trine.pipelines import step
    from {name}_help import scale

    RATE = 0.5
    TABLE = {{"a": [1, 2]}}
    log = logging.getLogger(__name__)

    @dataclasses.dataclass(frozen=True)
    class Config:
        depth: int = 2
        names: list = dataclasses.field(default_factory=list)

    class Spec(msgspec.Struct, frozen=True):
        width: int = 4

    class Colour(enum.Enum):
        RED = 1

    class Pair(NamedTuple):
        left: int = 0

    class Model:
        size = 3
        def __call__(self):
            return 5
        def fit(self, x):
            return x * self.size

    def clean(x, floor=0):
        # a comment
        return max(x, floor)

    def deeper(x):
        return clean(x) + math.sqrt(4)

    @step(retries=1)
    def train(x: int, model: Model, config: Config, spec: Spec | None, colour: list[Colour], pair: Pair) -> float:
        '''What it does.'''
        log.info("training")
        return scale(deeper(x) * RATE + TABLE["a"][0]) + np.float64(1)

    def unrelated():
        return 1
"""


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Callable[..., ModuleType]]:
    """Loads a file of that text as a module, under a fresh name each time or the one given."""
    sys.path.insert(0, str(tmp_path))
    names: list[str] = []

    def load(change: tuple[str, str] = ("", ""), helper: str = "def scale(x):\n    return 2 * x\n") -> ModuleType:
        name = f"code_{len(names)}"
        text = (
            textwrap.dedent(BASE.format(name=name)).replace(*change)
            if change[0]
            else textwrap.dedent(BASE.format(name=name))
        )
        (tmp_path / f"{name}.py").write_text(text)
        (tmp_path / f"{name}_help.py").write_text(helper)
        names.extend([name, f"{name}_help"])
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield load
    sys.path.remove(str(tmp_path))
    for name in names:
        sys.modules.pop(name, None)


def parts(module: ModuleType) -> dict[str, str]:
    """The parts of `train`, with the module's own name taken out."""
    return {name.replace(module.__name__, "m"): value for name, value in Code(module.train.function).parts.items()}


def test_the_code_of_a_step_is_all_it_names(module: Callable[..., ModuleType]) -> None:
    found = parts(module())
    assert {
        "m.train",
        "m.deeper",
        "m.clean",
        "m.RATE",
        "m.TABLE",
        "m_help.scale",
        "m.Model",
        "m.Model.fit",
    } <= found.keys()
    assert not [name for name in found if "unrelated" in name]
    assert Code(module().train.function).opaque == []


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (("RATE = 0.5", "RATE = 0.6"), "m.RATE"),
        (('"a": [1, 2]', '"a": [1, 3]'), "m.TABLE"),
        (("max(x, floor)", "min(x, floor)"), "m.clean"),
        (("floor=0", "floor=1"), "m.clean"),
        (("clean(x) + math", "clean(x) - math"), "m.deeper"),
        (("return x * self.size", "return x"), "m.Model.fit"),
        (("size = 3", "size = 4"), "m.Model.size"),
        (("return 5", "return 6"), "m.Model.__call__"),
        (("depth: int = 2", "depth: int = 3"), "m.Config.depth default"),
        (("default_factory=list", "default_factory=lambda: [1]"), "m.Config.names default"),
        (("width: int = 4", "width: int = 5"), "m.Spec.width default"),
        (("width: int", "width: float"), "m.Spec"),
        (("RED = 1", "RED = 2"), "m.Colour.RED default"),
        (("left: int = 0", "left: int = 1"), "m.Pair.left default"),
        (("np.float64(1)", "np.float64(2)"), "m.train"),
    ],
)
def test_a_change_in_what_decides_the_result_is_seen(
    module: Callable[..., ModuleType], change: tuple[str, str], changed: str
) -> None:
    before, after = parts(module()), parts(module(change))
    assert changed in {name for name in before if before[name] != after.get(name)}


def test_a_change_in_a_module_of_the_project_is_seen(module: Callable[..., ModuleType]) -> None:
    before, after = parts(module()), parts(module(helper="def scale(x):\n    return 3 * x\n"))
    assert {name for name in before if before[name] != after[name]} == {"m_help.scale"}


@pytest.mark.parametrize(
    "change",
    [
        ("# a comment", "# another"),
        ("'''What it does.'''", "'''Other words.'''"),
        ("@step(retries=1)", "@step(retries=5, timeout_s=3)"),
        ("return max(x, floor)", "return max(\n        x,\n        floor,\n    )"),
        ("RATE = 0.5", "\n\n\nRATE = 0.5"),
        ("return 1\n", "return 2\n"),
    ],
)
def test_layout_comments_and_what_is_not_named_do_not_count(
    module: Callable[..., ModuleType], change: tuple[str, str]
) -> None:
    assert parts(module()) == parts(module(change))


def test_a_file_that_was_edited_after_loading_does_not_hide_what_is_loaded(module: Callable[..., ModuleType]) -> None:
    found = module()
    before = parts(found)
    path = Path(found.__file__ or "")
    path.write_text(path.read_text().replace("max(x, floor)", "min(x, floor)"))
    edited = parts(found)
    assert edited["m.clean"] != before["m.clean"]  # by its bytecode now: it differs from both texts
    assert edited == parts(found)
    assert edited["m.clean"] != parts(module(("max(x, floor)", "min(x, floor)")))["m.clean"]


def test_closures_count_by_value() -> None:
    def make(rate: float) -> Callable[[float], float]:
        def inner(x: float) -> float:
            return x * rate

        return inner

    assert Code(make(1.0)).digest == Code(make(1.0)).digest
    assert Code(make(1.0)).digest != Code(make(2.0)).digest


class _Connection:
    """Stands for something that has no content."""


connection = _Connection()


def uses_a_connection() -> object:
    return connection


def test_what_has_no_content_is_told() -> None:
    (told,) = Code(uses_a_connection).opaque
    assert "connection" in told
    assert "_Connection" in told


def test_a_module_that_is_imported_in_the_body_counts_whether_it_is_loaded_or_not(
    module: Callable[..., ModuleType], tmp_path: Path
) -> None:
    found = module(("return scale(", "from late_help import twice\n    return twice(0) + scale("))
    (tmp_path / "late_help.py").write_text("def twice(x):\n    return 2 * x\n")
    importlib.invalidate_caches()
    first = parts(found)
    assert "late_help.twice" in first
    assert parts(found) == first
    sys.modules.pop("late_help")
