"""Requests from the OpenAPI document: each place of each operation that can hold an id, and bodies that are valid."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

Schema = Mapping[str, Any]
Location = Literal["path", "query", "header", "json", "form"]

MAX_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Place:
    """A place of an operation that can hold an id.

    names: the name of the parameter, or the path of a field in the body; a list's first element is 0.
    """

    method: str
    path: str
    location: Location
    names: tuple[str | int, ...]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.location} {'.'.join(map(str, self.names))}"


class Document:
    """An OpenAPI document with its references resolved."""

    def __init__(self, document: Schema) -> None:
        self._document = document

    def operations(self) -> Iterator[tuple[str, str, Schema]]:
        """Method, path and description of each operation."""
        for path, operations in self._document["paths"].items():
            for method, operation in operations.items():
                yield method.upper(), path, operation

    def places(self) -> Iterator[Place]:
        """All places that can hold an id."""
        for method, path, operation in self.operations():
            for parameter in operation.get("parameters", ()):
                yield Place(method, path, parameter["in"], (parameter["name"],))
            for media_type, schema in self._bodies(operation):
                location: Location = "json" if media_type == "application/json" else "form"
                for names in dict.fromkeys(self._texts(schema, ())):
                    yield Place(method, path, location, names)

    def body(self, path: str, method: str, location: Location) -> dict[str, Any]:
        """A body with the required fields, from the schema's first example if it has any."""
        operation = self._document["paths"][path][method.lower()]
        for media_type, schema in self._bodies(operation):
            if (media_type == "application/json") == (location == "json"):
                value = self._example(schema)
                return value if isinstance(value, dict) else {}
        return {}

    def _bodies(self, operation: Schema) -> Iterator[tuple[str, Schema]]:
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            yield media_type, content["schema"]

    def _resolve(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            target: Any = self._document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            schema = target
        return schema

    def _choices(self, schema: Schema) -> list[Schema]:
        schema = self._resolve(schema)
        choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
        return [choice for part in choices for choice in self._choices(part)] if choices else [schema]

    def _texts(self, schema: Schema, names: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
        """The paths of the fields that can be any text."""
        if len(names) > MAX_DEPTH:
            return
        for choice in self._choices(schema):
            match choice.get("type"):
                case "string" if not {"enum", "const"} & choice.keys():
                    yield names
                case "array":
                    yield from self._texts(choice.get("items", {}), (*names, 0))
                case "object":
                    for name, field in choice.get("properties", {}).items():
                        yield from self._texts(field, (*names, name))
                    if not choice.get("properties"):
                        yield (*names, "any")

    def _example(self, schema: Schema) -> Any:
        schema = self._resolve(schema)
        if examples := schema.get("examples"):
            return deepcopy(examples[0])
        schema = next(choice for choice in self._choices(schema) if choice.get("type") != "null")
        if examples := schema.get("examples"):
            return deepcopy(examples[0])
        if "enum" in schema or "const" in schema:
            return schema.get("const", schema.get("enum", [None])[0])
        match schema.get("type"):
            case "object":
                required = schema.get("required", ())
                return {name: self._example(schema["properties"][name]) for name in required}
            case "array":
                return [self._example(schema["items"])]
            case "integer" | "number":
                return schema.get("minimum", 1)
            case "boolean":
                return False
        return "x"


def with_value(body: Mapping[str, Any], names: tuple[str | int, ...], value: str) -> dict[str, Any]:
    """A copy of a body with a value at a path."""
    result: dict[str, Any] = deepcopy(dict(body))
    target: Any = result
    for name, following in pairwise(names):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(name, int):
            target[:] = [empty]
        elif not isinstance(target.get(name), type(empty)):
            target[name] = empty
        target = target[name]
    if isinstance(names[-1], int):
        target[:] = [value]
    else:
        target[names[-1]] = value
    return result
