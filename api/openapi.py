"""The OpenAPI document, where this API differs from FastAPI's defaults.

A bad query or path parameter is a 400 in OpenAI's error format, not FastAPI's 422. What all operations have in common
is added here: request ids, API keys, limits, and links from a created resource to the operations on it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from fastapi.routing import iter_route_contexts
from starlette.routing import Route

from api.a1111 import errors as a1111
from api.authentication import scope_of

EVERYWHERE = {
    "400": "The request is not valid; `param` names the field.",
    "401": "The API key is missing or not valid.",
    "421": "Requests need no API key, and the `Host` is not a name of this machine.",
    "429": "The project or API key has sent too many requests, or has too many in progress.",
    "503": "The database or the image store is not available.",
}
WITH_A_BODY = {
    "408": "The body did not arrive in time.",
    "413": "The body is larger than the server accepts.",
    "415": "The body has a content type that this call does not read.",
}

HEADERS: dict[str, dict[str, Any]] = {
    "x-request-id": {"description": "Identifies this request in the server's log.", "schema": {"type": "string"}},
    "www-authenticate": {"description": "The authentication scheme.", "schema": {"const": "Bearer"}},
    "retry-after": {
        "description": "Seconds after which to retry; absent if a retry does not help.",
        "required": False,
        "schema": {"type": "integer", "minimum": 1},
    },
    "location": {"description": "The path of the job.", "schema": {"type": "string", "pattern": "/v1/"}},
}
STATUS_HEADERS = {"202": "location", "401": "www-authenticate", "429": "retry-after", "503": "retry-after"}
"""The header of a response with this status, beside the request id."""

ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}

REFERENCES = "#/components/schemas/{model}"
"""Where `describe` puts the schemas that a body's schema references."""

UNUSED = ("HTTPValidationError", "ValidationError")


def describe(app: FastAPI, *, needs_key: bool = False) -> dict[str, Any]:
    """The document, created once. needs_key: whether calls under `/v1` need an API key."""
    if app.openapi_schema is None:
        app.openapi_schema = _document(app, needs_key)
    return app.openapi_schema


def serve(app: FastAPI, *, needs_key: bool) -> None:
    """Respond to `/openapi.json` with the document, encoded once: everyone may request it, and encoding takes long.

    Its `servers` is the path of the proxy that the request came through, so it holds under every name of the API.
    """
    app.openapi = lambda: describe(app, needs_key=needs_key)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    content = b""

    async def document(request: Request) -> Response:
        nonlocal content
        content = content or json.dumps(app.openapi(), ensure_ascii=False).encode()
        prefix: str = request.scope["prefix"]
        servers = json.dumps({"servers": [{"url": prefix}]})[:-1].encode() + b", " if prefix else b"{"
        return Response(servers + content[1:], media_type="application/json")

    app.router.routes.insert(0, Route(app.openapi_url or "", document, include_in_schema=False))


def event_stream(*messages: Mapping[str, Any], description: str) -> dict[str, Any]:
    """The content of a stream of server-sent events (OpenAPI 3.2's `itemSchema`). messages: see `message`."""
    return {"text/event-stream": {"itemSchema": {"anyOf": list(messages), "description": description}}}


def message(events: list[str], data: Mapping[str, Any], *required: str) -> dict[str, Any]:
    """A server-sent event: the values of its `event`, and the schema of its JSON `data`."""
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
    """The form of a model's JSON schema: `name[key]` for a nested field, `name[]` for an item of a list.

    A form has no null: a field without a value is left out.
    """
    definitions = schema.get("$defs", {})
    fields = [
        form_field for name, field in schema["properties"].items() for form_field in _flatten(name, field, definitions)
    ]
    properties = {name: field for name, field in fields if not name.startswith("^")}
    patterns = {name: field for name, field in fields if name.startswith("^")}
    return {"type": "object", "properties": properties, "patternProperties": patterns, "additionalProperties": False}


def _flatten(
    name: str, field: Mapping[str, Any], definitions: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
    attributes = {key: value for key, value in field.items() if key not in ("anyOf", "title", "$ref")}
    if "anyOf" in field and attributes.get("default", 0) is None:
        del attributes["default"]
    for kind in kinds or [field]:
        schema = definitions[kind["$ref"].rpartition("/")[2]] if "$ref" in kind else kind
        if "properties" in schema:
            for key, inner in schema["properties"].items():
                yield from _flatten(f"{name}[{key}]", inner, definitions)
        elif schema.get("type") == "object":
            yield rf"^{name}\[[^\[\]]{{1,64}}\]$", schema["additionalProperties"]
        elif schema.get("type") == "array":
            # An object in a list is one text in a form, such as `name:weight`: its type reads both.
            items = {"type": "string"} if "$ref" in schema["items"] else schema["items"]
            yield f"{name}[]", {"type": "array", "items": items}
        else:
            yield name, {key: value for key, value in {**schema, **attributes}.items() if key != "title"}


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
    components = document["components"]
    _declare_scopes(app, document, needs_key)
    for operation in _operations(document["paths"]):
        _correct(operation)
        for body in operation.get("requestBody", {}).get("content", {}).values():
            components["schemas"] |= body["schema"].pop("$defs", {})
    for operation in _operations(document.get("webhooks", {})):
        _remove_unused_422(operation["responses"])
        operation["security"] = []
    for name in UNUSED:
        components["schemas"].pop(name, None)
    _link(document)
    components["headers"] = {name: {"required": True} | header for name, header in HEADERS.items()}
    components["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, `sl_...`. Not needed if the server listens on a loopback address only.",
        },
        "basic": {
            "type": "http",
            "scheme": "basic",
            "description": "The API key as the password, with any user name. Only for the calls under `/sdapi`.",
        },
    }
    document["security"] = [{"key": []}] if needs_key else [{"key": []}, {}]
    return document


def _declare_scopes(app: FastAPI, document: dict[str, Any], needs_key: bool) -> None:
    """Say of each operation which scope its key needs (OpenAPI 3.1 has no other place for it than `security`)."""
    for route in iter_route_contexts(app.routes):
        scope = scope_of(route.endpoint)
        if scope is None:
            continue
        for method in route.methods or () if route.path_format in document["paths"] else ():
            operation = document["paths"][route.path_format][method.lower()]
            is_open = not needs_key or {} in operation.get("security", ())
            basic = [{"basic": [str(scope)]}] if (route.path_format or "").startswith(a1111.PREFIX) else []
            operation["security"] = [{"key": [str(scope)]}, *basic, *([{}] if is_open else [])]
            description = f"The API key does not have the scope `{scope}`."
            operation["responses"].setdefault("403", {"description": description, "content": ERROR})


def _operations(paths: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [operation for operations in paths.values() for operation in operations.values()]


def _correct(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    _remove_unused_422(responses)
    if operation.get("security") != []:
        for status, description in (EVERYWHERE | (WITH_A_BODY if "requestBody" in operation else {})).items():
            responses.setdefault(status, {"description": description, "content": ERROR})
    for status, response in responses.items():
        headers = {"x-request-id"}
        if status in STATUS_HEADERS and operation.get("security") != []:
            headers.add(STATUS_HEADERS[status])
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in sorted(headers)}


def _remove_unused_422(responses: dict[str, Any]) -> None:
    if "HTTPValidationError" in str(responses.get("422", "")):
        del responses["422"]


def _link(document: dict[str, Any]) -> None:
    """Link each response that creates a resource to the operations on it: its id is their path parameter."""
    for path, operations in document["paths"].items():
        for response in operations.get("post", {}).get("responses", {}).values():
            if "id" in _properties(document, response):
                links = {
                    operation["operationId"]: {
                        "operationId": operation["operationId"],
                        "parameters": {name: "$response.body#/id"},
                    }
                    for name, operation in _child_operations(document, path)
                }
                response |= {"links": links} if links else {}


def _child_operations(document: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The operations on a resource of a collection, with the name of its path parameter."""
    for child_path, operations in document["paths"].items():
        if match := re.fullmatch(re.escape(path) + r"/\{(\w+)\}[^{}]*", child_path):
            for operation in operations.values():
                yield match[1], operation


def _properties(document: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    properties: dict[str, Any] = schema.get("properties", {})
    return properties
