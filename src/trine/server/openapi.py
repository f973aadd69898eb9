"""The OpenAPI 3.1 document, made from the operations' signatures."""

from __future__ import annotations

from typing import Any

import msgspec

from trine import __version__
from trine.operations import REGISTRY, Operation

PROJECT = r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}$"
KEY = "^[!-~]{0,200}$"

ERRORS = {
    "401": "no or bad credentials",
    "403": "not allowed, or held for approval",
    "404": "no such thing",
    "409": "the state has moved, or exists already",
    "413": "too large",
    "422": "a value is wrong",
    "500": "what is stored is damaged, or a fault of the server",
    "503": "a part that is needed is away",
    "507": "the disk is full",
}


class ErrorBody(msgspec.Struct, frozen=True):
    """What went wrong: `code` is stable, `message` says what, where and how to mend it."""

    code: str
    message: str
    details: dict[str, Any]


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The body of every answer that is no success."""

    error: ErrorBody


def body_type(one: Operation) -> type[msgspec.Struct] | None:
    """The struct a request's body decodes to: the arguments that are not in the path."""
    inside = [field for field in msgspec.structs.fields(one.arguments) if field.name not in one.path_parameters]
    if not inside or one.method in ("GET", "DELETE"):
        return None
    fields: list[Any] = []
    for field in inside:
        if field.default_factory is not msgspec.NODEFAULT:
            fields.append((field.name, field.type, msgspec.field(default_factory=field.default_factory)))
        elif field.default is not msgspec.NODEFAULT:
            fields.append((field.name, field.type, field.default))
        else:
            fields.append((field.name, field.type))
    name = one.arguments.__name__.removesuffix("Arguments") + "Body"
    return msgspec.defstruct(name, fields, frozen=True, kw_only=True, forbid_unknown_fields=True)


def document() -> dict[str, Any]:
    """The whole document; deterministic."""
    operations = [REGISTRY[name] for name in sorted(REGISTRY)]
    bodies = {one.name: kind for one in operations if (kind := body_type(one))}
    parameters = {
        (one.name, field.name): field.type for one in operations for field in msgspec.structs.fields(one.arguments)
    }
    kinds = [*(one.result for one in operations), *bodies.values(), *parameters.values(), ErrorAnswer]
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    results = {one.name: schema for one, schema in zip(operations, schemas, strict=False)}
    rest = iter(list(schemas)[len(operations) :])
    body_schemas = dict(zip(bodies, rest, strict=False))
    parameter_schemas = dict(zip(parameters, rest, strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(f"/api/v1{one.path}", {})[one.method.lower()] = _describe(
            one, results[one.name], body_schemas.get(one.name), parameter_schemas
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Trine",
            "version": __version__,
            "description": "Every operation of a Trine workspace.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": dict(components),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "trn_…"}},
        },
        "security": [{"token": []}],
    }


def _describe(one: Operation, result: Any, body: Any, parameter_schemas: dict[tuple[str, str], Any]) -> dict[str, Any]:
    room = one.name.partition(".")[0]
    parameters = [_header("trine-project", PROJECT)]
    if one.changes:
        parameters.append(_header("idempotency-key", KEY))
    for field in msgspec.structs.fields(one.arguments):
        in_path = field.name in one.path_parameters
        if in_path or one.method in ("GET", "DELETE"):
            place = "path" if in_path else "query"
            schema = parameter_schemas[one.name, field.name]
            required = in_path or field.required
            parameters.append({"name": field.name, "in": place, "required": required, "schema": schema})
    described: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "tags": [room],
        "x-permission": one.allows,
        "parameters": parameters,
        "responses": {
            "200": {"description": "done", "content": {"application/json": {"schema": result}}},
            **{status: _error(text) for status, text in ERRORS.items()},
        },
    }
    if body is not None:
        required = any(
            field.required and field.name not in one.path_parameters for field in msgspec.structs.fields(one.arguments)
        )
        described["requestBody"] = {"required": required, "content": {"application/json": {"schema": body}}}
    return described


def _header(name: str, pattern: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": {"type": "string", "pattern": pattern}}


def _error(text: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ErrorAnswer"}
    return {"description": text, "content": {"application/json": {"schema": schema}}}
