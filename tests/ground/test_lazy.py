from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import trine

ROOMS = sorted(
    ".".join(("trine", *stub.relative_to(Path(trine.__file__).parent).parts[:-1]))
    for stub in Path(trine.__file__).parent.rglob("__init__.pyi")
)


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_of_a_room_is_where_its_stub_says(room: str) -> None:
    module = importlib.import_module(room)
    lines = Path(str(module.__file__)).with_suffix(".pyi").read_text().count("import ")
    assert lines == len(module.__all__) == len(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None, name


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'promot'"):
        importlib.import_module("trine.models").promot  # noqa: B018
