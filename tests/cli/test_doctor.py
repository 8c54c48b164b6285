"""What `safelight doctor` says of Redis behind TLS and behind Sentinels."""

from urllib.parse import quote, urlsplit

import pytest

from cli.doctor import CHECKS, CheckFailed
from cli.local.embedded import EmbeddedValkey
from core.settings import Settings
from tests.receiver import CERTIFICATE
from tests.tls_proxy import TLSProxy


def check_redis(url: str) -> str:
    """The check alone: a whole run of the doctor imports torch."""
    return CHECKS["redis"](Settings(database_url="postgresql://127.0.0.1:1/none", redis_url=url))


def test_redis_behind_a_private_ca_works(valkey: EmbeddedValkey) -> None:
    server = urlsplit(valkey.url)
    assert server.port is not None
    with TLSProxy(CERTIFICATE, server.port) as proxy:
        url = f"rediss://:{server.password}@127.0.0.1:{proxy.port}/5"

        assert check_redis(f"{url}?ssl_ca_certs={quote(str(CERTIFICATE))}&ssl_check_hostname=false").startswith(
            "valkey "
        )
        with pytest.raises(CheckFailed, match="CERTIFICATE_VERIFY_FAILED"):
            check_redis(url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sentinel://127.0.0.1:1/0?master_name=mymaster", "^no Sentinel answers with the address of the master$"),
        ("http://redis", "must begin with redis://"),
    ],
)
def test_a_redis_that_cannot_be_reached_is_a_plain_sentence(url: str, problem: str) -> None:
    with pytest.raises(CheckFailed, match=problem):
        check_redis(url)
