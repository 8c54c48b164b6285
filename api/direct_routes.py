"""The routes that clients call most, with fewer steps around their functions.

FastAPI works out anew for each request which dependencies a function has and of what kind they are: twice as long as a
submit itself takes. A direct route reads that once, from FastAPI's own description of the route. Then it calls the same
dependencies in the same order, and FastAPI's code reads path, query and headers. The OpenAPI document and the errors
are those of the ordinary route, which stays behind it.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any

from fastapi import FastAPI, Request
from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.exceptions import RequestValidationError
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.responses import Response

from core.ids import id_pattern

PATHS = {
    ("POST", "/v1/jobs"): re.compile("/v1/jobs"),
    ("GET", "/v1/jobs/{job_id}"): re.compile(f"/v1/jobs/(?P<job_id>{id_pattern('job').strip('^$')})"),
    ("POST", "/v1/images/generations"): re.compile("/v1/images/generations"),
    ("POST", "/generate-image"): re.compile("/generate-image"),
}
"""Method and path of each direct route, and the paths for which it stands. Others take the ordinary route."""


@dataclass(frozen=True, slots=True)
class Step:
    """A dependency. arguments: the numbers of the earlier steps whose results it takes, by name."""

    call: Callable[..., Awaitable[Any]]
    request_name: str | None
    arguments: Sequence[tuple[str, int]]


class DirectRoute:
    """A route whose dependencies are known to be plain coroutine functions. Raises TypeError for others.

    original: FastAPI's route. endpoint: its function.
    """

    def __init__(self, context: RouteContext) -> None:
        self.original = context.original_route
        self.endpoint = context.endpoint
        self._path = context.path_format
        self._dependant: Dependant = context.dependant
        if self._dependant.body_params or self._dependant.cookie_params:
            raise TypeError(f"{self._path}: a direct route reads its body in a dependency, and no cookies")
        self._steps: list[Step] = []
        self._numbers: dict[Any, int] = {}
        self._final = self._add(self._dependant)
        self._optional = _Optional.of(self._dependant)

    def _add(self, dependant: Dependant) -> Step:
        """Add the dependencies of a function to the steps. Returns the step of the function itself."""
        arguments = []
        for dependency in dependant.dependencies:
            if dependency.call not in self._numbers:
                if _has_parameters(dependency):
                    raise TypeError(f"{self._path}: only the function itself may have parameters")
                step = self._add(dependency)
                self._numbers[dependency.call] = len(self._steps)
                self._steps.append(step)
            if dependency.name is not None:
                arguments.append((dependency.name, self._numbers[dependency.call]))
        call: Any = dependant.call
        if not iscoroutinefunction(call) or dependant.response_param_name or dependant.background_tasks_param_name:
            raise TypeError(f"{self._path}: {call} is no plain coroutine function")
        return Step(call, dependant.request_param_name, arguments)

    async def respond(self, request: Request) -> Response:
        """The response to a request. Raises the errors for which the application has handlers."""
        results: list[Any] = []
        for step in self._steps:
            results.append(await step.call(**_arguments(step, request, results)))
        values = _arguments(self._final, request, results)
        values.update(self._parameters(request))
        response: Response = await self._final.call(**values)
        return response

    def _parameters(self, request: Request) -> Mapping[str, Any]:
        """The parameters of path, query and headers. Raises RequestValidationError."""
        scope = request.scope
        values: dict[str, Any] = {}
        errors: list[Any] = []
        sources: list[tuple[Sequence[ModelField], Any]] = [(self._dependant.path_params, request.path_params)]
        if scope["query_string"] or not self._optional.query:
            sources.append((self._dependant.query_params, request.query_params))
        if not self._optional.headers or any(name in self._optional.header_names for name, _ in scope["headers"]):
            sources.append((self._dependant.header_params, request.headers))
        for fields, source in sources:
            if fields:
                part, part_errors = request_params_to_args(fields, source)
                values.update(part)
                errors += part_errors
        if errors:
            raise RequestValidationError(errors)
        return values


@dataclass(frozen=True, slots=True)
class _Optional:
    """Which parameters of a function may be absent: then its own defaults hold, and none of FastAPI's code is run."""

    query: bool
    headers: bool
    header_names: frozenset[bytes]

    @classmethod
    def of(cls, dependant: Dependant) -> "_Optional":
        names = frozenset(field.alias.lower().encode() for field in dependant.header_params)
        return cls(_have_defaults(dependant.query_params), _have_defaults(dependant.header_params), names)


def _have_defaults(fields: Sequence[ModelField]) -> bool:
    return not any(field.field_info.is_required() for field in fields)


def _has_parameters(dependant: Dependant) -> bool:
    parameters = (dependant.path_params, dependant.query_params, dependant.header_params, dependant.cookie_params)
    return any(parameters) or bool(dependant.body_params)


def _arguments(step: Step, request: Request, results: Sequence[Any]) -> dict[str, Any]:
    arguments = {name: results[number] for name, number in step.arguments}
    if step.request_name is not None:
        arguments[step.request_name] = request
    return arguments


class DirectRoutes:
    """The direct routes of an application. To be made when all of its routes are there."""

    def __init__(self, app: FastAPI) -> None:
        self.routes: list[tuple[str, re.Pattern[str], DirectRoute]] = []
        for context in iter_route_contexts(app.routes):
            for method in context.methods or ():
                pattern = PATHS.get((method, context.path_format or ""))
                if pattern is not None:
                    self.routes.append((method, pattern, DirectRoute(context)))

    def match(self, method: str, path: str) -> tuple[DirectRoute, dict[str, str]] | None:
        """The route for a request, and the parameters of its path. path: without the prefix of a proxy."""
        for route_method, pattern, route in self.routes:
            if method == route_method and (match := pattern.fullmatch(path)) is not None:
                return route, match.groupdict()
        return None
