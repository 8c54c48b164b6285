"""The OpenAPI document, corrected where FastAPI's defaults do not describe us.

A bad query or path parameter is a 400 in OpenAI's error shape here, not FastAPI's 422; and every call under `/v1` may
answer 401 (where keys are on) and 503.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

EVERYWHERE = {
    "400": "The request is wrong; `param` names the field.",
    "401": "The API key is missing or not valid.",
    "503": "The database does not answer.",
}


REFERENCES = "#/components/schemas/{model}"
"""Where `describe` puts the schemas that a body's schema refers to."""


def describe(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
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
        for path, operations in document["paths"].items():
            for operation in operations.values():
                _correct(operation["responses"], under_v1=path.startswith("/v1"))
                for body in operation.get("requestBody", {}).get("content", {}).values():
                    document["components"]["schemas"] |= body["schema"].pop("$defs", {})
        for told in document.get("webhooks", {}).values():
            for operation in told.values():
                _correct(operation["responses"], under_v1=False)
        for unused in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(unused, None)
        document["components"]["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "description": "`sl_...`; off on a loopback address."}
        }
        document["security"] = [{"key": []}, {}]
        app.openapi_schema = document
    return app.openapi_schema


def _correct(responses: dict[str, Any], *, under_v1: bool) -> None:
    if "HTTPValidationError" in str(responses.get("422", "")):
        del responses["422"]
    if under_v1:
        for status, description in EVERYWHERE.items():
            responses.setdefault(status, _error(description))


def _error(description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}
    return {"description": description, "content": content}
