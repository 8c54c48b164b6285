"""The parameters that a model supports, as JSON schemas with the model's own limits and defaults.

A form for a model can be made from them alone; a new parameter of `core/parameters/job.py` appears here by itself.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from core.catalog import Choices, Model, Range
from core.parameters.control import PREPROCESSES
from core.parameters.job import Parameters, rules

Schema = dict[str, Any]


def parameters_of(model: Model) -> dict[str, Schema]:
    """A schema for each parameter that a model supports, by name. `operations`: those that accept it."""
    return {name: _schema(name, model) for name in rules() if name not in model.lacks}


def _schema(name: str, model: Model) -> Schema:
    schema = {**_schemas()[name], "operations": model.operations_of(name)}
    match model.limit(name):
        case Range() as limit:
            schema |= {"minimum": limit.min, "maximum": limit.max}
            schema |= {} if limit.default is None else {"default": limit.default}
        case Choices() as limit:
            schema |= {"enum": list(limit.values), "default": limit.default}
    if name == "loras":
        items = schema["items"]
        names = {**items["properties"]["name"], "enum": [lora.name for lora in model.loras]}
        schema["items"] = {**items, "properties": {**items["properties"], "name": names}}
    if name == "control":
        items = schema["items"]
        types = {**items["properties"]["type"], "enum": [control.type for control in model.controls]}
        preprocess = {**items["properties"]["preprocess"], "enum": [*PREPROCESSES, *model.preprocessors]}
        schema["items"] = {**items, "properties": {**items["properties"], "type": types, "preprocess": preprocess}}
    if name == "reference_images" and model.ip_adapters:
        items = schema["items"]
        names = {**items["properties"]["adapter"], "enum": [adapter.name for adapter in model.ip_adapters]}
        schema["items"] = {**items, "properties": {**items["properties"], "adapter": names}}
    if name == "hires" and model.hires is not None:
        bounds: Schema = {"scale": {"maximum": model.hires.max_scale}, "strength": {"default": model.hires.strength}}
        bounds["upscaler"] = {"enum": list(model.hires.names)}
        schema["properties"] = {key: {**value, **bounds.get(key, {})} for key, value in schema["properties"].items()}
    if name == "refiner":
        names = {**schema["properties"]["model"], "enum": [refiner.name for refiner in model.refiners]}
        schema["properties"] = {**schema["properties"], "model": names}
    if name == "strength":
        schema["default"] = model.strength
    return schema


@cache
def _schemas() -> Mapping[str, Schema]:
    document = Parameters.model_json_schema()
    return {name: _inline(schema, document.get("$defs", {})) for name, schema in document["properties"].items()}


def _inline(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """A schema without references, titles and null: a parameter that is left out is null."""
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **{k: v for k, v in schema.items() if k != "$ref"}}
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        schema = {**{name: value for name, value in schema.items() if name != "anyOf"}, **options[0]}
        return _inline(schema, definitions)
    schema = {name: value for name, value in schema.items() if name != "title" and (name, value) != ("default", None)}
    if "properties" in schema:
        schema["properties"] = {name: _inline(inner, definitions) for name, inner in schema["properties"].items()}
    if "items" in schema:
        schema["items"] = _inline(schema["items"], definitions)
    return schema
