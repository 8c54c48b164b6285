"""Where Safelight is, and with which key: arguments, or the variables SAFELIGHT_URL and SAFELIGHT_API_KEY."""

import os
from dataclasses import dataclass
from typing import Any

import httpx

from safelight_client.errors import ConfigurationError, InvalidKey
from safelight_client.version import VERSION

DEFAULT_URL = "http://127.0.0.1:8000"

RESPONSE_SECONDS = 20.0
"""Maximum wait for a response; above the API's limit of 15 s for a statement."""

CONNECT_SECONDS = 5.0

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class Configuration:
    """The address of a Safelight and how to call it. Times in seconds."""

    url: str
    key: str | None
    timeout: float

    @property
    def http_options(self) -> dict[str, Any]:
        """The arguments of an HTTP client of httpx."""
        headers = {"user-agent": f"safelight-client/{VERSION}"}
        if self.key is not None:
            headers["authorization"] = f"Bearer {self.key}"
        return {
            "base_url": self.url,
            "headers": headers,
            "timeout": timeout_of(self.timeout),
            # For this machine, a proxy in the environment is not used.
            "mounts": {f"all://{host}": None for host in LOCAL_HOSTS},
        }


def timeout_of(seconds: float) -> httpx.Timeout:
    """The timeout of a request: for each wait for data, and for the connection."""
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))


def configure(url: str | None, key: str | None, timeout: float) -> Configuration:
    """The configuration of a client. Raises ConfigurationError."""
    url = url or os.environ.get("SAFELIGHT_URL") or DEFAULT_URL
    key = key or os.environ.get("SAFELIGHT_API_KEY") or None
    if key is not None and not (key.isascii() and key.isprintable()):
        raise InvalidKey("The API key has invalid characters.")
    return Configuration(_check_url(url), key, timeout)


def _check_url(url: str) -> str:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ConfigurationError(f"{url} is not a valid URL of Safelight; an example is {DEFAULT_URL}.")
    if parts.path.rstrip("/").endswith("/v1"):
        raise ConfigurationError(f"The URL {url} must not end in /v1: the client adds it.")
    return url.rstrip("/")
