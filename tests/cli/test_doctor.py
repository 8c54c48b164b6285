"""What `safelight doctor` says of Redis behind TLS and behind Sentinels, and what each process is checked for."""

from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from cli.checks import CheckFailed, Subject, check_redis, check_storage
from cli.doctor import PARTS, ServerProcess, find_process, find_queues, read_first_command
from cli.errors import CommandError
from cli.local.embedded import EmbeddedValkey
from cli.packages import install_command
from core.settings import Settings
from core.settings.environment import list_unknown
from tests.receiver import CERTIFICATE
from tests.tls_proxy import TLSProxy


def redis_at(url: str) -> str:
    """The check alone: a whole run of the doctor imports torch."""
    return check_redis(Subject(Settings(redis_url=url)))


def test_redis_behind_a_private_ca_works(valkey: EmbeddedValkey) -> None:
    server = urlsplit(valkey.url)
    assert server.port is not None
    with TLSProxy(CERTIFICATE, server.port) as proxy:
        url = f"rediss://:{server.password}@127.0.0.1:{proxy.port}/5"

        assert redis_at(f"{url}?ssl_ca_certs={quote(str(CERTIFICATE))}&ssl_check_hostname=false").startswith("valkey ")
        with pytest.raises(CheckFailed, match="CERTIFICATE_VERIFY_FAILED"):
            redis_at(url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sentinel://127.0.0.1:1/0?master_name=mymaster", "^no Sentinel answers with the address of the master$"),
        ("http://redis", "must begin with redis://"),
    ],
)
def test_a_redis_that_cannot_be_reached_is_a_plain_sentence(url: str, problem: str) -> None:
    with pytest.raises(CheckFailed, match=problem):
        redis_at(url)


@pytest.mark.parametrize(
    ("command", "process", "queues"),
    [
        ("/sbin/docker-init -- safelight api", "api", []),
        ("/venv/bin/python /venv/bin/safelight worker --queue openai --concurrency 32", "worker", ["openai"]),
        ("/venv/bin/python -m celery -A worker.generation.app worker -Q local,large", "worker", ["local", "large"]),
        ("/venv/bin/python -m worker.sweep", "sweep", []),
        ("/venv/bin/python -m worker.webhooks.deliver", "deliver", []),
        ("/sbin/init splash", None, []),
    ],
)
def test_a_container_is_checked_for_its_own_process(
    command: str, process: str | None, queues: list[str], tmp_path: Path
) -> None:
    (tmp_path / "cmdline").write_text(command.replace(" ", "\0") + "\0")
    words = read_first_command(tmp_path / "cmdline")
    assert (find_process(words), find_queues(words)) == (process, queues)


def test_the_api_needs_no_torch_and_the_deliverer_nothing_but_postgres() -> None:
    assert "packages" not in PARTS[ServerProcess.API]
    assert PARTS[ServerProcess.DELIVER] == ("postgres",)


def test_a_redis_without_a_url_is_not_blamed_on_postgres(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no valkey under"):
        check_redis(Subject(Settings(data_dir=tmp_path)))


def test_the_check_of_the_storage_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data" / "deep")
    assert check_storage(Subject(settings)).endswith("write, read and delete work")
    assert list(tmp_path.iterdir()) == []


def test_its_advice_names_packages_of_an_index() -> None:
    assert install_command("openai") == "pip install 'openai>=3.54'"
    assert "safelight" not in install_command("api", "worker", "cli", "embedded", "all", "dev")


def test_a_name_that_is_no_setting_is_said_with_the_nearest() -> None:
    names = ("SAFELIGHT_PROT", "SAFELIGHT_PORT", "SAFELIGHT_URL", "SAFELIGHT_TEST_PATIENCE", "SAFELIGHT_X", "PATH")
    assert list_unknown(dict.fromkeys(names, "1")) == [
        "SAFELIGHT_PROT is no setting and is ignored: did you mean SAFELIGHT_PORT?",
        "SAFELIGHT_X is no setting and is ignored.",
    ]
