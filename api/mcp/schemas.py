"""The JSON schemas of tools: from the types of the requests, with the values that the catalogue allows.

Schemas have no references and no null, which some clients and models do not understand: a field is left out instead.
Enumerations and bounds are those of all models together. What a single model does not support is an error of the call.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from api.mcp.tool import Tool
from core.catalog import Catalog, Choices, Model, Range
from core.parameters.job import rules

Schema = dict[str, Any]


def input_schema(tool: Tool, catalog: Catalog) -> Schema:
    """The schema of a tool's arguments."""
    schema = _simplify(tool.arguments.model_json_schema())
    properties: Schema = schema["properties"]
    for name in tool.hidden:
        properties.pop(name, None)
    if tool.operation is not None:
        models = [model for model in catalog.models if tool.operation in model.operations]
        _restrict(properties, models, catalog.default)
        for name in rules():
            if not any(tool.operation in model.operations_of(name) for model in models):
                properties.pop(name, None)
    return {"type": "object", "properties": properties, "additionalProperties": False} | (
        {"required": required} if (required := schema.get("required")) else {}
    )


def output_schema(tool: Tool) -> Schema:
    """The schema of a tool's result."""
    return _simplify(tool.result.model_json_schema(mode="serialization"))


def _restrict(properties: Schema, models: Sequence[Model], default: str) -> None:
    """Put the values that the models allow into the schemas of parameters."""
    names = [model.id for model in models]
    properties["model"] |= {"enum": names, "description": "A model; list_models says what each supports."}
    if default in names:
        properties["model"]["default"] = default
    properties["n"]["maximum"] = max((model.max_images for model in models), default=1)
    for name in properties.keys() & rules().keys():
        match [limit for model in models if (limit := model.limit(name)) is not None]:
            case [Choices(), *_] as choices:
                properties[name] |= {"enum": _values(properties[name], choices)}
            case [Range(), *_] as ranges:
                bounds = [limit for limit in ranges if isinstance(limit, Range)]
                properties[name] |= {
                    "minimum": min(limit.min for limit in bounds),
                    "maximum": max(limit.max for limit in bounds),
                }


def _values(schema: Schema, limits: Sequence[Range | Choices]) -> list[str]:
    """The values that any model allows; `auto` is the default of each."""
    values = dict.fromkeys(value for limit in limits if isinstance(limit, Choices) for value in limit.values)
    if "enum" in schema:
        return [value for value in schema["enum"] if value in values]
    return list(dict.fromkeys([*values, "auto"]))


def _simplify(schema: Schema) -> Schema:
    """A schema without references, titles of fields and examples; null is no value."""
    return _inline(schema, schema.get("$defs", {}))


def _inline(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        return _inline({**target, **{name: value for name, value in schema.items() if name != "$ref"}}, definitions)
    simple = {name: value for name, value in schema.items() if name not in ("$defs", "title", "examples")}
    if "anyOf" in simple:
        kinds = [kind for kind in simple.pop("anyOf") if kind != {"type": "null"}]
        if len(kinds) == 1:
            return _inline({**kinds[0], **_without_null_default(simple)}, definitions)
        simple["anyOf"] = [_inline(kind, definitions) for kind in kinds]
    simple = _without_null_default(simple)
    for name in ("items", "additionalProperties"):
        if isinstance(simple.get(name), Mapping):
            simple[name] = _inline(simple[name], definitions)
    if "properties" in simple:
        required = [name for name in simple.pop("required", ()) if not _is_nullable(simple["properties"][name])]
        simple["properties"] = {name: _inline(value, definitions) for name, value in simple["properties"].items()}
        simple |= {"required": required} if required else {}
    return simple


def _is_nullable(schema: Mapping[str, Any]) -> bool:
    return {"type": "null"} in schema.get("anyOf", ())


def _without_null_default(schema: Mapping[str, Any]) -> Schema:
    return {name: value for name, value in schema.items() if (name, value) != ("default", None)}
