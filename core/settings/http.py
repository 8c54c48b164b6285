"""The settings of the HTTP server: its addresses, whether requests need a key, and the limits of connections.

`Settings` adds all other settings.
"""

import ipaddress
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from annotated_types import Ge, Le
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings

from core.settings.addresses import (
    Network,
    check_networks,
    check_origins,
    check_path,
    check_public_url,
    networks_of,
    origins_of,
)
from core.settings.types import ENVIRONMENT, Duration, set_or_none

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


class HttpSettings(BaseSettings):
    """How the API listens, who may use it, and what one client may hold open."""

    model_config = ENVIRONMENT

    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: Annotated[int, Ge(1), Le(65535)] = Field(8000, description="Port the API listens on.")
    api_processes: Annotated[int, Ge(1), Le(64)] = Field(
        1,
        description="Number of API processes that share the port. Each has the limits `per API process`, and "
        "`database_pool_size` connections to Postgres of its own.",
    )
    public_url: Annotated[str | None, BeforeValidator(set_or_none), AfterValidator(check_public_url)] = Field(
        None,
        description="URL under which clients reach the API, with its path if a proxy serves it under one; every link "
        "starts with it. Default: links in a response start with the address of its request, and links in webhooks "
        "and in output files of batches with http://host:port.",
    )
    root_path: Annotated[str, AfterValidator(check_path)] = Field(
        "",
        description="Path under which a proxy serves the API, such as /safelight, whether the proxy strips it or not. "
        "Default: the path of public_url, or what a trusted proxy says in `X-Forwarded-Prefix`.",
    )
    trusted_proxies: Annotated[str, AfterValidator(check_networks)] = Field(
        "127.0.0.0/8, ::1",
        description="IP addresses and networks of proxies whose headers (`X-Forwarded-*`, `Forwarded`) say which "
        "address the client used and which it has, separated by commas. The headers of others are ignored.",
    )
    cors_origins: Annotated[str, AfterValidator(check_origins)] = Field(
        "",
        description="Origins of web pages that may call the API, separated by commas (https://app.example.com), or `*` "
        "for all; while keys are off, `*` is only for requests that have a key. Default: none.",
    )
    auth: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether requests need an API key. `auto`: if host or public_url is not a loopback address; a "
        "request that came through a proxy, or under another name than this machine's, needs one in any case. "
        "`off`: never, and everyone who can reach the API can use it.",
    )

    # Connections
    max_connections: Annotated[int, Ge(1), Le(100_000)] = Field(
        1000,
        description="Maximum number of open connections per API process; less if the process may open fewer files. "
        "When they are in use, a new connection replaces a waiting one; `/healthz` and `/readyz` are always answered.",
    )
    max_project_requests: Annotated[int, Ge(1)] = Field(
        500,
        description="Maximum number of requests of a project in progress per API process, long polls and event streams "
        "among them. Less than `max_connections`, so that a project cannot use all connections. Without API keys it "
        "has no effect.",
    )
    max_header_bytes: Annotated[int, Ge(1024)] = Field(
        32_768, description="Maximum size of a request's line and headers."
    )
    max_headers: Annotated[int, Ge(8)] = Field(100, description="Maximum number of headers of a request.")
    header_timeout: Duration = Field(
        timedelta(seconds=15), description="Time in which a request's headers must arrive, from the connection on."
    )
    body_timeout: Duration = Field(
        timedelta(seconds=30), description="Interval in which a part of a body must arrive, at `min_rate`."
    )
    write_timeout: Duration = Field(
        timedelta(seconds=60), description="Interval in which a client must read a part of its response, at `min_rate`."
    )
    min_rate: Annotated[int, Ge(0)] = Field(
        500, description="Bytes per second at which a client must send its body and read its response."
    )
    keep_alive: Duration = Field(
        timedelta(seconds=75),
        description="How long a connection may be idle between two requests. More than the proxy's own time, so that "
        "the API does not close a connection first.",
    )
    max_uploads: Annotated[int, Ge(1)] = Field(
        64, description="Maximum number of forms (files, images) that an API process reads at once."
    )
    max_project_uploads: Annotated[int, Ge(1)] = Field(
        32, description="Maximum number of forms of a project that an API process reads at once."
    )
    max_upload_bytes: Annotated[int, Ge(2**20)] = Field(
        4 * 2**30,
        description="Maximum size of all forms that an API process reads at once. Larger files of them are in the "
        "directory `uploads` of data_dir.",
    )

    @model_validator(mode="after")
    def _check_path(self) -> Self:
        if self.public_url and self.root_path not in ("", urlsplit(self.public_url).path):
            raise ValueError("root_path must be the path of public_url; set only public_url")
        return self

    @property
    def is_exposed(self) -> bool:
        """Whether clients of other machines are expected: host or public_url is not a loopback address."""
        public_host = urlsplit(self.public_url).hostname if self.public_url else None
        return not is_loopback(self.host) or (public_host is not None and not is_loopback(public_host))

    @property
    def lacks_public_url(self) -> bool:
        """Whether clients of other machines cannot use `base_url`: the API listens on all addresses, without a name."""
        return self.public_url is None and self.host in EVERYWHERE

    @property
    def needs_key(self) -> bool:
        """Whether all requests need an API key."""
        return self.auth == "on" or (self.auth == "auto" and self.is_exposed)

    @property
    def access(self) -> str:
        """Who can use the API, as a sentence without its full stop."""
        if self.needs_key:
            return "Every request needs an API key"
        if self.is_exposed:
            return (
                "API keys are OFF by SAFELIGHT_AUTH=off, and this API is not only for this machine: EVERYONE who can "
                f"reach {self.base_url} ({self.host}:{self.port}) can submit, read and delete everything"
            )
        return f"API keys are OFF: every program of this machine can use {self.base_url}"

    @property
    def prefix(self) -> str:
        """The path under which a proxy serves the API; empty if it has none."""
        return urlsplit(self.public_url).path if self.public_url else self.root_path

    @property
    def base_url(self) -> str:
        """What links begin with that belong to no request, without a trailing slash: in webhooks and files."""
        host = "127.0.0.1" if self.host in EVERYWHERE else self.host
        host = f"[{host}]" if ":" in host else host
        return self.public_url or f"http://{host}:{self.port}{self.root_path}"

    @cached_property
    def trusted_networks(self) -> tuple[Network, ...]:
        """The networks of `trusted_proxies`."""
        return networks_of(self.trusted_proxies)

    @cached_property
    def allowed_origins(self) -> frozenset[str]:
        """The origins of `cors_origins`; `*` is one of them if all may call the API."""
        return origins_of(self.cors_origins)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
