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
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.exceptions import RequestValidationError
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

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


class DirectRoute(BaseRoute):
    """A route whose dependencies are known to be plain coroutine functions. Raises TypeError for others."""

    def __init__(self, context: RouteContext, method: str, pattern: re.Pattern[str]) -> None:
        self.path_format = context.path_format
        self.method = method
        self.pattern = pattern
        self._route = context.original_route
        self._dependant: Dependant = context.dependant
        if self._dependant.body_params or self._dependant.cookie_params:
            raise TypeError(f"{self.path_format}: a direct route reads its body in a dependency, and no cookies")
        self._endpoint = context.endpoint
        self._steps: list[Step] = []
        self._numbers: dict[Any, int] = {}
        self._final = self._add(self._dependant)

    def _add(self, dependant: Dependant) -> Step:
        """Add the dependencies of a function to the steps. Returns the step of the function itself."""
        arguments = []
        for dependency in dependant.dependencies:
            if dependency.call not in self._numbers:
                if _has_parameters(dependency):
                    raise TypeError(f"{self.path_format}: only the function itself may have parameters")
                step = self._add(dependency)
                self._numbers[dependency.call] = len(self._steps)
                self._steps.append(step)
            if dependency.name is not None:
                arguments.append((dependency.name, self._numbers[dependency.call]))
        call: Any = dependant.call
        if not iscoroutinefunction(call) or dependant.response_param_name or dependant.background_tasks_param_name:
            raise TypeError(f"{self.path_format}: {call} is no plain coroutine function")
        return Step(call, dependant.request_param_name, arguments)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a request is for this route."""
        if scope["type"] != "http" or scope["method"] != self.method:
            return Match.NONE, {}
        match = self.pattern.fullmatch(scope["path"].removeprefix(scope["prefix"]))
        if match is None:
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self._endpoint, "route": self._route, "path_params": match.groupdict()}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request. The application's exception handlers respond to errors."""
        request = Request(scope, receive, send)
        results: list[Any] = []
        for step in self._steps:
            results.append(await step.call(**_arguments(step, request, results)))
        values = _arguments(self._final, request, results)
        values.update(self._parameters(request))
        response: Response = await self._final.call(**values)
        await response(scope, receive, send)

    def _parameters(self, request: Request) -> Mapping[str, Any]:
        """The parameters of path, query and headers. Raises RequestValidationError."""
        values: dict[str, Any] = {}
        errors: list[Any] = []
        sources = (
            (self._dependant.path_params, request.path_params),
            (self._dependant.query_params, request.query_params),
            (self._dependant.header_params, request.headers),
        )
        for fields, source in sources:
            if fields:
                part, part_errors = request_params_to_args(fields, source)
                values.update(part)
                errors += part_errors
        if errors:
            raise RequestValidationError(errors)
        return values

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        """The ordinary route has this."""
        raise NoMatchFound(name, path_params)


def _has_parameters(dependant: Dependant) -> bool:
    parameters = (dependant.path_params, dependant.query_params, dependant.header_params, dependant.cookie_params)
    return any(parameters) or bool(dependant.body_params)


def _arguments(step: Step, request: Request, results: Sequence[Any]) -> dict[str, Any]:
    arguments = {name: results[number] for name, number in step.arguments}
    if step.request_name is not None:
        arguments[step.request_name] = request
    return arguments


def install(app: FastAPI) -> None:
    """Put the direct routes before the others. To be called when all routes are there."""
    direct_routes = []
    for context in iter_route_contexts(app.routes):
        for method in context.methods or ():
            pattern = PATHS.get((method, context.path_format or ""))
            if pattern is not None:
                direct_routes.append(DirectRoute(context, method, pattern))
    app.router.routes[:0] = direct_routes
