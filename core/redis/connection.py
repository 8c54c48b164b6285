"""Connections to Redis: reads SAFELIGHT_REDIS_URL in one place, for redis-py and for Celery alike.

    redis://[[user]:password@]host[:6379][/database]
    rediss://...?ssl_ca_certs=/etc/ssl/redis-ca.pem
    sentinel://[[user]:password@]host[:26379];sentinel://host2[:26379][/database]?master_name=mymaster

`rediss` is TLS; with Sentinel, `?ssl=true` asks for it. Options of TLS: ssl_ca_certs, ssl_certfile, ssl_keyfile,
ssl_cert_reqs (required, optional, none) and ssl_check_hostname. User and password are those of the Redis server;
Sentinels with authentication of their own take sentinel_username and sentinel_password.
"""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from core.settings import Settings

KEY_PREFIX = "safelight:"
"""The beginning of all our keys and channels."""

SENTINEL_PORT = 26379
SECONDS = 0.5
"""Longest wait of a client for Redis. What is sent over Redis may be lost; nobody may wait for it."""

_CERT_REQS = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_TRUE = ("true", "yes", "1")


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A URL, taken apart. tls: redis-py's arguments; None: no TLS. sentinels: none where the URL names a server."""

    url: str  # of one server, or of Sentinels as Celery reads it; without options of TLS
    tls: Mapping[str, Any] | None = None
    sentinels: tuple[tuple[str, int], ...] = ()
    master_name: str = ""
    database: int = 0
    credentials: Mapping[str, str] = field(default_factory=dict)
    sentinel_credentials: Mapping[str, str] = field(default_factory=dict)


def parse_address(url: str | None) -> RedisAddress:
    """Take a URL apart. Raises ValueError with a message for the operator."""
    if not url:
        raise ValueError("SAFELIGHT_REDIS_URL is not set; `safelight up` starts an embedded Valkey and sets it.")
    nodes = [urlsplit(part) for part in url.split(";")]
    schemes = {node.scheme for node in nodes}
    options = dict(parse_qsl(nodes[-1].query))
    tls = _take_tls(options)
    if schemes == {"sentinel"}:
        return _sentinel_address(nodes, options, tls)
    if len(nodes) > 1 or not schemes <= {"redis", "rediss", "unix"}:
        raise ValueError("SAFELIGHT_REDIS_URL must begin with redis://, rediss://, unix:// or sentinel://")
    (node,) = nodes
    return RedisAddress(urlunsplit(node._replace(query=urlencode(options))), tls if node.scheme == "rediss" else None)


def _take_tls(options: dict[str, str]) -> dict[str, Any]:
    """Take the options of TLS out of a URL's options."""
    tls: dict[str, Any] = {name: options.pop(name) for name in _TLS_OPTIONS if name in options}
    if "ssl_cert_reqs" in tls:
        level = tls["ssl_cert_reqs"].lower().removeprefix("cert_")  # Celery's spelling is CERT_REQUIRED
        if level not in _CERT_REQS:
            raise ValueError("SAFELIGHT_REDIS_URL: ssl_cert_reqs must be required, optional or none")
        tls["ssl_cert_reqs"] = level
    if "ssl_check_hostname" in tls:
        tls["ssl_check_hostname"] = tls["ssl_check_hostname"].lower() in _TRUE
    return tls


def _sentinel_address(nodes: Sequence[SplitResult], options: dict[str, str], tls: dict[str, Any]) -> RedisAddress:
    if "master_name" not in options:
        raise ValueError("SAFELIGHT_REDIS_URL: a Sentinel URL needs ?master_name=")
    first, database = nodes[0], nodes[-1].path.strip("/") or "0"
    if not database.isdecimal():
        raise ValueError("SAFELIGHT_REDIS_URL: the path must be the number of a database, such as /0")
    is_tls = tls or options.get("ssl", "").lower() in _TRUE
    sentinels = tuple((node.hostname or "localhost", node.port or SENTINEL_PORT) for node in nodes)
    # kombu may go on with any of the URLs, so each has the credentials; for a port left out it takes 6379.
    user, at, _ = first.netloc.rpartition("@")
    hosts = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in sentinels]
    credentials = {"username": unquote(first.username or ""), "password": unquote(first.password or "")}
    return RedisAddress(
        url=";".join(f"sentinel://{user}{at}{host}/{database}" for host in hosts),
        tls=tls if is_tls else None,
        sentinels=sentinels,
        master_name=options["master_name"],
        database=int(database),
        credentials={name: value for name, value in credentials.items() if value},
        sentinel_credentials={
            name: options[f"sentinel_{name}"] for name in credentials if f"sentinel_{name}" in options
        },
    )


def connect(settings: Settings, seconds: float = SECONDS) -> redis.Redis:
    """A client for synchronous code, which waits for Redis `seconds` at most and tries nothing twice."""
    address = parse_address(settings.redis_url)
    retry = Retry(NoBackoff(), 0)
    options = _options(address, seconds) | {"retry": retry}
    if not address.sentinels:
        return redis.Redis.from_url(address.url, **options)
    sentinel = redis.sentinel.Sentinel(  # type: ignore[no-untyped-call]  # redis-py's
        address.sentinels, sentinel_kwargs=_sentinel_options(address, seconds) | {"retry": retry}, **options
    )
    client: redis.Redis = sentinel.master_for(address.master_name)  # type: ignore[no-untyped-call]  # redis-py's
    return client


def connect_async(settings: Settings, seconds: float = SECONDS) -> redis.asyncio.Redis:
    """`connect` for asynchronous code."""
    address = parse_address(settings.redis_url)
    retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
    options = _options(address, seconds) | {"retry": retry}
    if not address.sentinels:
        return redis.asyncio.Redis.from_url(address.url, **options)
    sentinel = redis.asyncio.sentinel.Sentinel(  # type: ignore[no-untyped-call]  # redis-py's
        address.sentinels, sentinel_kwargs=_sentinel_options(address, seconds) | {"retry": retry}, **options
    )
    client: redis.asyncio.Redis = sentinel.master_for(address.master_name)
    return client


def celery_options(settings: Settings, **transport: Any) -> dict[str, Any]:
    """Celery's settings of its broker. `transport`: further options of kombu's transport."""
    address = parse_address(settings.redis_url)
    options: dict[str, Any] = {"broker_url": address.url, "broker_transport_options": dict(transport)}
    if address.tls is not None:
        # kombu opens a plain connection to a rediss:// URL unless it gets options of TLS.
        reqs = _CERT_REQS[address.tls.get("ssl_cert_reqs", "required")]
        options["broker_use_ssl"] = {**address.tls, "ssl_cert_reqs": reqs}
    if address.sentinels:
        options["broker_transport_options"] |= {
            "master_name": address.master_name,
            # By default redis-py tries a Sentinel that is away again and again, for 8 s.
            "sentinel_kwargs": _sentinel_options(address, SECONDS) | {"retry": Retry(NoBackoff(), 0)},
        }
    return options


def _options(address: RedisAddress, seconds: float) -> dict[str, Any]:
    """redis-py's arguments for connections to the server."""
    options: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    if address.sentinels:
        options |= {"db": address.database, **address.credentials}
        if address.tls is not None:
            options["ssl"] = True
    return options | dict(address.tls or {})


def _sentinel_options(address: RedisAddress, seconds: float) -> dict[str, Any]:
    """redis-py's arguments for connections to the Sentinels."""
    options: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    if address.tls is not None:
        options |= {"ssl": True, **address.tls}
    return options | dict(address.sentinel_credentials)
