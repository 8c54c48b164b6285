"""The OpenAPI document, where FastAPI's defaults do not describe us: what every answer carries and every call may say.

A bad query or path parameter is a 400 in OpenAI's error shape here, not FastAPI's 422. What holds for all operations
(request ids, keys, limits, links from what was made to what can be done with it) is written here, once.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

EVERYWHERE = {
    "400": "The request is wrong; `param` names the field.",
    "401": "The API key is missing or not valid.",
    "503": "The database or the image store does not answer.",
}
WITH_A_BODY = {"413": "The body is larger than the server takes."}

HEADERS: dict[str, dict[str, Any]] = {
    "x-request-id": {"description": "Names this call in the server's log.", "schema": {"type": "string"}},
    "www-authenticate": {"description": "The scheme of the key.", "schema": {"const": "Bearer"}},
    "retry-after": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}},
    "location": {"description": "Where to look next.", "schema": {"type": "string", "pattern": "^/v1/"}},
}
CARRIED = {"202": "location", "401": "www-authenticate", "429": "retry-after", "503": "retry-after"}
"""What an answer of a status always carries, beside the request's id."""

ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}

REFERENCES = "#/components/schemas/{model}"
"""Where `describe` puts the schemas that a body's schema refers to."""

UNUSED = ("HTTPValidationError", "ValidationError")


def describe(app: FastAPI, *, needs_key: bool = False) -> dict[str, Any]:
    """The document, made once. needs_key: whether calls under `/v1` are refused without one."""
    if app.openapi_schema is None:
        app.openapi_schema = _document(app, needs_key)
    return app.openapi_schema


def event_stream(*messages: Mapping[str, Any], description: str) -> dict[str, Any]:
    """Server-sent events as the content of an answer (OpenAPI 3.2's `itemSchema`). messages: made by `message`."""
    return {"text/event-stream": {"itemSchema": {"anyOf": list(messages), "description": description}}}


def message(events: list[str], data: Mapping[str, Any], *required: str) -> dict[str, Any]:
    """A server-sent event: what its `event` may be, and the schema of its `data`, which is JSON."""
    return {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "event": {"type": "string", "enum": events},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data},
        },
        "required": ["event", "data", *required],
    }


def form_fields(schema: Mapping[str, Any]) -> dict[str, Any]:
    """How a form says what a model's JSON schema describes: `name[key]` for what lies within, `name[]` for many.

    A form has no null: what is not said is left out.
    """
    fields = [
        one for name, field in schema["properties"].items() for one in _flat(name, field, schema.get("$defs", {}))
    ]
    named = {name: field for name, field in fields if not name.startswith("^")}
    patterns = {name: field for name, field in fields if name.startswith("^")}
    return {"type": "object", "properties": named, "patternProperties": patterns, "additionalProperties": False}


def _flat(name: str, field: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
    about = {key: value for key, value in field.items() if key not in ("anyOf", "title", "$ref")}
    if "anyOf" in field and about.get("default", 0) is None:
        del about["default"]
    for kind in kinds or [field]:
        found = known[kind["$ref"].rpartition("/")[2]] if "$ref" in kind else kind
        if "properties" in found:
            for key, inner in found["properties"].items():
                yield from _flat(f"{name}[{key}]", inner, known)
        elif found.get("type") == "object":
            yield rf"^{name}\[[^\[\]]{{1,64}}\]$", found["additionalProperties"]
        elif found.get("type") == "array":
            yield f"{name}[]", {"type": "array", "items": found["items"]}
        else:
            yield name, {key: value for key, value in {**found, **about}.items() if key != "title"}


def _document(app: FastAPI, needs_key: bool) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        webhooks=app.webhooks.routes,
        tags=app.openapi_tags,
        license_info=app.license_info,
    )
    context = document["components"]
    for operation in (one for operations in document["paths"].values() for one in operations.values()):
        _correct(operation)
        for body in operation.get("requestBody", {}).get("content", {}).values():
            context["schemas"] |= body["schema"].pop("$defs", {})
    for told in (one for operations in document.get("webhooks", {}).values() for one in operations.values()):
        _drop_the_unused_422(told["responses"])
        told["security"] = []
    for unused in UNUSED:
        context["schemas"].pop(unused, None)
    _link(document)
    context["headers"] = {name: header | {"required": True} for name, header in HEADERS.items()}
    context["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "`sl_...`; off on a loopback address."}
    }
    document["security"] = [{"key": []}] if needs_key else [{"key": []}, {}]
    return document


def _correct(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    _drop_the_unused_422(responses)
    if operation.get("security") != []:
        for status, description in (EVERYWHERE | (WITH_A_BODY if "requestBody" in operation else {})).items():
            responses.setdefault(status, {"description": description, "content": ERROR})
    for status, response in responses.items():
        carried = {"x-request-id"}
        if status in CARRIED and operation.get("security") != []:
            carried.add(CARRIED[status])
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in sorted(carried)}


def _drop_the_unused_422(responses: dict[str, Any]) -> None:
    if "HTTPValidationError" in str(responses.get("422", "")):
        del responses["422"]


def _link(document: dict[str, Any]) -> None:
    """Say of every answer that brings something new what can be done with it: its id is the path's parameter."""
    for path, operations in document["paths"].items():
        for response in operations.get("post", {}).get("responses", {}).values():
            if "id" in _properties(document, response):
                links = {
                    operation["operationId"]: {
                        "operationId": operation["operationId"],
                        "parameters": {name: "$response.body#/id"},
                    }
                    for name, operation in _below(document, path)
                }
                response |= {"links": links} if links else {}


def _below(document: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The operations on one thing of a collection, and the name of its parameter."""
    for other, operations in document["paths"].items():
        if found := re.fullmatch(re.escape(path) + r"/\{(\w+)\}[^{}]*", other):
            for operation in operations.values():
                yield found[1], operation


def _properties(document: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    found: dict[str, Any] = schema.get("properties", {})
    return found
