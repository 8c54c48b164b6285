"""Write what the clients have from the code: `python clients/generate.py`. `--check` only compares, for tests and CI.

- `models.py` and `requests.py` of the Python client: the schemas of the OpenAPI document, by datamodel-code-generator.
- `synchronous/` of the Python client: from `asynchronous/`, by unasync.
- `openapi.ts` of the TypeScript client: the OpenAPI document, by openapi-typescript. This needs npm, so `--check` only
  looks whether each schema and field is there.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import unasync
from datamodel_code_generator.__main__ import main as make_types

from api.app import create_app
from core.settings import Settings

CLIENTS = Path(__file__).parent
PACKAGE = CLIENTS / "python" / "safelight_client"
TYPESCRIPT = CLIENTS / "typescript"
TYPESCRIPT_TYPES = TYPESCRIPT / "src" / "openapi.ts"

REFERENCE = "#/components/schemas/"

OPENAI_CALLS = ("/v1/images/", "/generate-image")
"""Calls for other clients; ours posts jobs instead."""

CONSTRAINTS = frozenset(
    {"pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    | {"minItems", "maxItems", "examples"}
)
"""A client does not check what the API has checked: another version may have other limits."""

HEADER = '''"""{title} Made from the OpenAPI document by `python clients/generate.py`: do not edit."""'''

CODE_GENERATOR = (
    "--input-file-type=openapi",
    "--target-python-version=3.11",
    "--disable-timestamp",
    "--enum-field-as-literal=all",
    "--use-standard-collections",
    "--use-generic-container-types",
    "--use-union-operator",
    "--use-schema-description",
    "--use-field-description",
    "--disable-future-imports",
    "--strict-nullable",
    "--use-annotated",
    "--formatters=builtin",
)

SYNCHRONOUS = {
    "asynchronous": "synchronous",
    "asyncio": "time",
    "aclosing": "closing",
    "aclose": "close",
    "aread": "read",
    "aiter_bytes": "iter_bytes",
    "asynccontextmanager": "contextmanager",
}
"""Names of the asynchronous form and of the synchronous one; `Async` before a name is left out too."""


def document() -> dict[str, Any]:
    """The OpenAPI document. Each body has a schema with a name, as the types of clients need."""
    content = deepcopy(create_app(Settings()).openapi())
    schemas = content["components"]["schemas"]
    for operation in _operations(content["paths"]):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        title = body.get("schema", {}).get("title")
        if title is not None:
            schemas[title] = body["schema"]
            body["schema"] = {"$ref": REFERENCE + title}
    names = {name: name.replace("_", "") for name in schemas if "_" in name}  # Page_ImagesResult_
    text = json.dumps(content)
    for name, new_name in names.items():
        text = text.replace(f'"{REFERENCE}{name}"', f'"{REFERENCE}{new_name}"').replace(f'"{name}":', f'"{new_name}":')
    result: dict[str, Any] = json.loads(text)
    return result


def _operations(paths: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for operations in paths.values():
        yield from operations.values()


def _references(node: Any) -> Iterator[str]:
    """The names of the schemas that a part of the document refers to."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and value.startswith(REFERENCE):
                yield value.removeprefix(REFERENCE)
            yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _schemas_of(content: Mapping[str, Any], parts: Any) -> dict[str, Any]:
    """The schemas that parts of the document refer to, directly or by another schema, in order of their names."""
    schemas = content["components"]["schemas"]
    names: set[str] = set()
    new_names = set(_references(parts))
    while new_names:
        names |= new_names
        new_names = {inner for name in new_names for inner in _references(schemas[name])} - names
    return {name: schemas[name] for name in sorted(names)}


def _response_schemas(content: Mapping[str, Any]) -> dict[str, Any]:
    """The schemas of responses and webhooks, without constraints and open for new values of enumerations."""
    responses = [operation["responses"] for operation in _operations(content["paths"])]
    schemas = _schemas_of(content, [responses, content.get("webhooks", {})])
    enumerations = {name: schema for name, schema in schemas.items() if "enum" in schema}
    return {
        name: _open(_without_constraints(schema), enumerations)
        for name, schema in schemas.items()
        if name not in enumerations
    }


def _open(node: Any, enumerations: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_open(item, enumerations) for item in node]
    if not isinstance(node, dict):
        return node
    name = node.get("$ref", "").removeprefix(REFERENCE)
    if name in enumerations:
        node = {
            **_without_constraints(enumerations[name]),
            **{key: value for key, value in node.items() if key != "$ref"},
        }
    result = {key: _open(value, enumerations) for key, value in node.items()}
    if isinstance(result.get("default"), dict):
        del result["default"]  # the generator would write it as a dict, which is no object of its class
    if result.get("type") == "string" and isinstance(result.get("enum"), list):
        result["anyOf"] = [{"type": "string", "enum": result.pop("enum")}, {"type": "string"}]
        del result["type"]
    return result


def _remove_title(node: dict[str, Any]) -> None:
    """A title only repeats the name of the field or the class."""
    if isinstance(node.get("title"), str):
        del node["title"]


def _request_schemas(content: Mapping[str, Any]) -> dict[str, Any]:
    """The schemas of the JSON bodies that the client posts. `dry_run` is left out: the client has methods for it."""
    bodies = [
        operation["requestBody"]["content"].get("application/json", {})
        for path, operations in content["paths"].items()
        for operation in operations.values()
        if "requestBody" in operation and not path.startswith(OPENAI_CALLS)
    ]
    schemas = {name: _without_constraints(schema) for name, schema in _schemas_of(content, bodies).items()}
    for schema in schemas.values():
        schema.get("properties", {}).pop("dry_run", None)
    return schemas


def _without_constraints(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_constraints(item) for item in node]
    if not isinstance(node, dict):
        return node
    result = {key: _without_constraints(value) for key, value in node.items() if key not in CONSTRAINTS}
    _remove_title(result)
    if result.get("additionalProperties") is False:
        del result["additionalProperties"]
    return result


def _schemas_document(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """A document that has only schemas."""
    info = {"title": "Safelight", "version": "1"}
    return {"openapi": "3.1.0", "info": info, "paths": {}, "components": {"schemas": schemas}}


def _typescript_schemas() -> dict[str, Any]:
    """The schemas of requests and responses. A response has all of its fields that have a default."""
    content = document()
    responses = _response_schemas(content)
    for schema in responses.values():
        defaults = [name for name, field in schema.get("properties", {}).items() if "default" in field]
        schema["required"] = [*schema.get("required", ()), *defaults]
    return responses | _request_schemas(content)


def _python_types(schemas: Mapping[str, Any], title: str, *options: str) -> str:
    """The Python types of schemas."""
    content = _schemas_document(schemas)
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "openapi.json", Path(name) / "types.py"
        source.write_text(json.dumps(content))
        header = f"--custom-file-header={HEADER.format(title=title)}"
        if make_types([f"--input={source}", f"--output={target}", header, *CODE_GENERATOR, *options]) != 0:
            raise RuntimeError("datamodel-code-generator does not accept the document.")
        return target.read_text()


def _synchronous_modules() -> dict[Path, str]:
    """The modules of the synchronous client."""
    sources = sorted((PACKAGE / "asynchronous").glob("*.py"))
    names = {name for source in sources for name in re.findall(r"\bAsync[A-Z]\w*", source.read_text())}
    replacements = {**SYNCHRONOUS, **{name: name.removeprefix("Async") for name in names}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "asynchronous"
        shutil.copytree(PACKAGE / "asynchronous", folder)
        rule = unasync.Rule("/asynchronous/", "/synchronous/", additional_replacements=replacements)
        unasync.unasync_files([str(folder / source.name) for source in sources], [rule])
        modules = {source.name: (Path(name) / "synchronous" / source.name).read_text() for source in sources}
    modules["__init__.py"] = (
        '"""The client in its synchronous form: made of `asynchronous/` by clients/generate.py."""\n'
    )
    note = "# Made of asynchronous/{name} by `python clients/generate.py`: do not edit.\n"
    return {PACKAGE / "synchronous" / name: note.format(name=name) + text for name, text in modules.items()}


def python_files() -> dict[Path, str]:
    """The generated files of the Python client."""
    content = document()
    files = {
        PACKAGE / "models.py": _python_types(
            _response_schemas(content),
            "The objects in responses.",
            "--output-model-type=pydantic_v2.BaseModel",
            "--extra-fields=allow",
        ),
        PACKAGE / "requests.py": _python_types(
            _request_schemas(content), "The bodies of requests.", "--output-model-type=typing.TypedDict"
        ),
        **_synchronous_modules(),
    }
    return _format(files)


def _format(files: Mapping[Path, str]) -> dict[Path, str]:
    """The files as ruff formats them. It finds its configuration as for the files themselves."""
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(PACKAGE, Path(name) / PACKAGE.relative_to(CLIENTS.parent))  # ruff looks which modules are there
        copies = {path: Path(name) / path.relative_to(CLIENTS.parent) for path in files}
        for path, copy in copies.items():
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(files[path])
        shutil.copy(CLIENTS.parent / "pyproject.toml", name)
        for command in (("check", "--fix-only", "--quiet", "--select=I,F401"), ("format", "--quiet")):
            subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=name, check=True)  # noqa: S603 - our own arguments
        return {path: copy.read_text() for path, copy in copies.items()}


def write_typescript_types() -> None:
    """Write the types of the TypeScript client. Installs its tools with npm, if they are not there."""
    if not (TYPESCRIPT / "node_modules").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=TYPESCRIPT, check=True)  # noqa: S607 - the npm of the developer
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "openapi.json"
        source.write_text(json.dumps(_schemas_document(_typescript_schemas())))
        command = ["npm", "exec", "--", "openapi-typescript", str(source), "--default-non-nullable=false"]
        subprocess.run([*command, "--output", str(TYPESCRIPT_TYPES)], cwd=TYPESCRIPT, check=True)  # noqa: S603 - our own arguments


def missing_typescript_fields() -> list[str]:
    """The schemas and fields of the document that the types of the TypeScript client lack."""
    text = TYPESCRIPT_TYPES.read_text()
    missing = []
    for name, schema in _typescript_schemas().items():
        match = re.search(rf"^        {name}: (.*?)^        [}}\w]", text, re.MULTILINE | re.DOTALL)
        for field in schema.get("properties", {}):
            if match is None or not re.search(rf'^            "?{re.escape(field)}"?\??:', match[1], re.MULTILINE):
                missing.append(f"{name}.{field}")
    return missing


def find_differences() -> list[str]:
    """The generated files that differ from what the code says, and the fields that the TypeScript client lacks."""
    files = python_files()
    differences = [str(path) for path, text in files.items() if not path.exists() or path.read_text() != text]
    return differences + missing_typescript_fields()


def main() -> int:
    """Write the files; with --check, compare them and return 1 if any differs."""
    if "--check" not in sys.argv:
        for path, text in python_files().items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        write_typescript_types()
        return 0
    differences = find_differences()
    if differences:
        print(f"The clients are stale: {', '.join(differences)}. Run python clients/generate.py", file=sys.stderr)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
