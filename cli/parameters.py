"""The options of commands that send a request or a filter: one for each of its fields.

So every new parameter of the API becomes an option. The values are only collected here, as the request's JSON; the API
checks them.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cli.errors import CommandError

Format = Literal["png", "webp", "jpeg"]

FORMATS: dict[str, Format] = {".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}
"""The format of each extension. The first extension of a format is used for new files."""

_NAMES = {
    "n": ("--n", "-n"),
    "output_format": ("--format",),
    "project_id": ("--project",),
    "batch_id": ("--batch",),
}
_WITHOUT_PREFIX = {"postprocess"}
"""Objects whose fields have options without a prefix: `--upscale`, not `--postprocess-upscale`."""


@dataclass(frozen=True, slots=True)
class RequestOption:
    """An option of the command line, and the field of a request that it sets."""

    name: str  # of the function's argument
    path: tuple[str, ...]  # in the request's JSON
    flags: tuple[str, ...]
    type: Any
    help: str
    is_map: bool = False  # the values are `key=value`

    @property
    def parameter(self) -> inspect.Parameter:
        """The option as an argument of a command."""
        metavar = "K=V" if self.is_map else self.path[-1].upper() if self.type == list[str] else None
        option = typer.Option(*self.flags, help=self.help, show_default=False, metavar=metavar)
        annotation = cast(Any, Annotated)[self.type | None, option]  # not a type that mypy could check
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def request_options(kind: type[BaseModel], skip: Collection[str] = ()) -> Iterator[RequestOption]:
    """An option for each field of a request, except those that the command handles itself."""
    for name, field in kind.model_fields.items():
        if name not in skip:
            yield from _options((name,), field, _NAMES.get(name))


def with_options(options: Collection[RequestOption]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that replaces a command's argument `request` by options, and passes it their JSON."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def wrapper(**arguments: Any) -> None:
            values = {option: arguments.pop(option.name) for option in options}
            command(**arguments, request=_as_json(values))

        signature = inspect.signature(command)
        command_parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in signature.parameters.items()
            if name != "request"
        ]
        parameters = [*command_parameters, *(option.parameter for option in options)]
        wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # as typer reads it
        wrapper.__name__, wrapper.__doc__, wrapper.__annotations__ = command.__name__, command.__doc__, {}
        return wrapper

    return decorate


def extension_of(media_type: str) -> str:
    """The extension of an image's file: `.png`, `.webp` or `.jpg`."""
    return next(extension for extension, name in FORMATS.items() if f"image/{name}" == media_type)


def present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have a value. Raises CommandError for text that is not UTF-8."""
    values = {name: value for name, value in fields.items() if value is not None}
    for name, value in values.items():
        try:
            str(value).encode()
        except UnicodeEncodeError:  # the shell passed bytes that are not UTF-8
            raise CommandError(f"{name} is not valid UTF-8.") from None
    return values


def _options(path: tuple[str, ...], field: FieldInfo, flags: tuple[str, ...] | None = None) -> Iterator[RequestOption]:
    kind, is_map = _type_of(field.annotation)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, inner in kind.model_fields.items():
            yield from _options((*path, name), inner)
        return
    words = [part for part in path if part not in _WITHOUT_PREFIX]
    flags = flags or ("--" + "-".join(words).replace("_", "-"),)
    help_text = (field.description or "").replace("`", "")
    yield RequestOption("_".join(words), path, flags, kind, help_text, is_map)


def _type_of(annotation: Any) -> tuple[Any, bool]:
    """The type of an option for a field, and whether its values are `key=value`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _type_of(get_args(annotation)[0])
    if origin in (Union, UnionType):
        (inner,) = (part for part in get_args(annotation) if part is not NoneType)
        return _type_of(inner)
    if origin is Literal and not all(isinstance(value, str) for value in get_args(annotation)):
        return int, False
    if origin is dict:
        return list[str], True
    return (list[str], False) if origin is list else (annotation, False)


def _as_json(values: Mapping[RequestOption, Any]) -> dict[str, Any]:
    """The fields that the options set."""
    request: dict[str, Any] = {}
    for option, value in values.items():
        if value is None or value == []:
            continue
        target = request
        for name in option.path[:-1]:
            target = target.setdefault(name, {})
        target[option.path[-1]] = _pairs(option, value) if option.is_map else value
    return present(request)


def _pairs(option: RequestOption, values: Collection[str]) -> dict[str, str]:
    """`k=v` options as an object. Raises CommandError for one without `=`."""
    for value in values:
        if "=" not in value:
            raise CommandError(
                f"{option.flags[0]} {value}: give a key and a value, such as {option.flags[0]} project=cats."
            )
    return dict(value.split("=", 1) for value in values)
