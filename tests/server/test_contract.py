"""The OpenAPI document against the server: schemathesis calls every operation with what the schema allows and what it forbids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.applications import Starlette

from trine import rooms
from trine.operations import REGISTRY
from trine.server.app import create_app
from trine.server.openapi import document
from trine.workspace import Workspace

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
NAMES = ("name", "dataset", "model", "endpoint", "view", "service", "monitor", "experiment", "pipeline", "project")
"""Arguments that name things: half of the calls use one name, so that some find what others made."""


@pytest.fixture
def app(local_ws: Workspace) -> Starlette:
    return create_app(local_ws, allow_hosts=("testserver",))


def test_the_document_is_valid_and_complete() -> None:
    rooms.load()
    told = msgspec.json.decode(msgspec.json.encode(document()))
    OpenAPIV31SpecValidator(told).validate()
    assert told == msgspec.json.decode(msgspec.json.encode(document()))
    described = {
        one["operationId"]: f"{method.upper()} {path}"
        for path, ways in told["paths"].items()
        for method, one in ways.items()
    }
    assert described == {one.name: f"{one.method} /api/v1{one.path}" for one in REGISTRY.values()}


def test_reading_operations_take_what_a_query_can_hold() -> None:
    """Text, numbers, truth values, and lists of those: structures belong into a body."""
    from msgspec import inspect

    plain = (inspect.StrType, inspect.IntType, inspect.FloatType, inspect.BoolType, inspect.NoneType)
    plain = (*plain, inspect.LiteralType, inspect.EnumType, inspect.DateTimeType)

    def kinds(kind: inspect.Type) -> Iterator[inspect.Type]:
        if isinstance(kind, inspect.Metadata):
            yield from kinds(kind.type)
        elif isinstance(kind, inspect.UnionType):
            for one in kind.types:
                yield from kinds(one)
        elif isinstance(kind, inspect.ListType):
            yield from kinds(kind.item_type)
        else:
            yield kind

    rooms.load()
    for one in REGISTRY.values():
        for field in msgspec.structs.fields(one.arguments):
            if one.method in ("GET", "DELETE") or field.name in one.path_parameters:
                for kind in kinds(inspect.type_info(field.type)):
                    assert isinstance(kind, plain), f"{one.name}: {field.name} is {kind}"


@pytest.mark.parametrize(
    ("mode", "examples"), [(GenerationMode.POSITIVE, 6), (GenerationMode.NEGATIVE, 2)], ids=["allowed", "forbidden"]
)
def test_every_operation_keeps_its_word(
    app: Starlette, local_ws: Workspace, admin_token: Any, mode: GenerationMode, examples: int
) -> None:
    schema: Any = schemathesis.openapi.from_asgi("/openapi.json", app)
    token = admin_token(local_ws)
    checks = CHECKS if mode == GenerationMode.POSITIVE else [*CHECKS, negative_data_rejection]
    broken: list[str] = []
    for found in schema.get_all_operations():
        one = found.ok()
        if "/test-" in one.label:  # an operation that another test made in this process, to be broken
            continue
        calls = 0

        @settings(
            max_examples=examples, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck)
        )
        @given(one.as_strategy(generation_mode=mode))
        def call(case: Any) -> None:
            nonlocal calls
            calls += 1
            case.headers = {**(case.headers or {}), "authorization": f"Bearer {token}", "host": "localhost"}
            for place in (case.path_parameters, case.body):
                if mode == GenerationMode.POSITIVE and isinstance(place, dict) and calls % 2:
                    place.update({name: "a" for name in NAMES if isinstance(place.get(name), str)})
            case.call_and_validate(checks=checks)

        try:
            call()
        except (FailureGroup, AssertionError) as error:
            told = error.exceptions[0] if isinstance(error, FailureGroup) else error
            broken.append(f"{one.label}: {told}")
    assert not broken, "\n\n".join(broken)
