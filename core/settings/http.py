"""The settings of the HTTP server: its addresses, whether requests need a key, and the limits of connections.

`Settings` adds all other settings.
"""

import ipaddress
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from annotated_types import Ge, Le
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings

from core.settings.types import ENVIRONMENT, Duration, set_or_none


def _check_public_url(url: str | None) -> str | None:
    """Raises ValueError if clients cannot use the URL as the start of a link."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port != 0
    except ValueError:
        port_is_valid = False
    if not port_is_valid or parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        raise ValueError("it must be a URL with a host, such as https://images.example.com")
    if "?" in url or "#" in url or "@" in parts.netloc or " " in url:
        raise ValueError("it must have no query, no fragment, no user and no space; a path is allowed")
    return url.rstrip("/")


class HttpSettings(BaseSettings):
    """How the API listens, who may use it, and what one client may hold open."""

    model_config = ENVIRONMENT

    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: Annotated[int, Ge(1), Le(65535)] = Field(8000, description="Port the API listens on.")
    public_url: Annotated[str | None, BeforeValidator(set_or_none), AfterValidator(_check_public_url)] = Field(
        None,
        description="URL under which clients reach the API, with its path if a proxy serves it under one; image links "
        "start with it. Default: http://host:port.",
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

    @property
    def is_exposed(self) -> bool:
        """Whether clients of other machines are expected: host or public_url is not a loopback address."""
        public_host = urlsplit(self.public_url).hostname if self.public_url else None
        return not is_loopback(self.host) or (public_host is not None and not is_loopback(public_host))

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
        """The path of public_url, under which a proxy serves the API; empty if it has none."""
        return urlsplit(self.public_url or "").path

    @property
    def base_url(self) -> str:
        """The URL for clients, without a trailing slash."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
        host = f"[{host}]" if ":" in host else host
        return self.public_url or f"http://{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
