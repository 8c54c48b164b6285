"""What docker-compose.yml promises; test_servers.py runs the servers' own commands."""

import re

import pytest
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner

from cli.main import app
from core.settings import Settings
from tests.shipping.files import (
    ROOT,
    environment,
    example,
    image_environment,
    instructions,
    project_version,
    seconds,
    services,
    text,
    variables,
)

OURS = ("api", "deliver", "migrate", "openai", "sweep", "training", "worker")
OTHERS_VARIABLES = re.compile(r"AWS_[A-Z_]+")
DOTENV = {
    "POSTGRES_PASSWORD": "one",
    "POSTGRES_APP_PASSWORD": "four",
    "VALKEY_PASSWORD": "five",
    "S3_SECRET_KEY": "two",
    "SAFELIGHT_SECRET_KEY": "three" * 8,
}
OWN_USERS = {"postgres": "999:999", "valkey": "999:999"}
PRIVILEGED = {"s3": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]}
"""The capabilities with which a container starts as root, before it goes on as another user."""

NETWORKS = {
    "postgres": {"database"},
    "valkey": {"notifier"},
    "s3": {"storage"},
    "migrate": {"database"},
    "api": {"edge", "database", "notifier", "storage"},
    "worker": {"outside", "database", "notifier", "storage"},
    "training": {"outside", "database", "storage"},
    "openai": {"outside", "database", "notifier", "storage"},
    "sweep": {"database", "notifier", "storage"},
    "deliver": {"outside", "database", "notifier"},
}


def one_shot(service: dict[str, object]) -> bool:
    return service["restart"] == "no"


@pytest.mark.parametrize("name", services())
def test_an_image_is_pinned(name: str) -> None:
    repository, _, tag = services()[name]["image"].partition(":")
    if name in OURS:
        assert tag == project_version()
        assert (ROOT / services()[name]["build"]["dockerfile"]).exists()
    else:
        assert re.match(r"\d+\.\d+", tag), f"{repository} is not pinned"


@pytest.mark.parametrize("name", services())
def test_a_service_has_a_healthcheck_or_runs_once(name: str) -> None:
    service = services()[name]
    if one_shot(service):
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"])


@pytest.mark.parametrize("name", services())
def test_a_service_waits_until_what_it_needs_is_well(name: str) -> None:
    for dependency, options in services()[name].get("depends_on", {}).items():
        ends = one_shot(services()[dependency])
        assert options["condition"] == ("service_completed_successfully" if ends else "service_healthy")


@pytest.mark.parametrize("name", services())
def test_a_container_can_change_nothing_of_itself_or_of_the_machine(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add") == PRIVILEGED.get(name)
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("user") == OWN_USERS.get(name), "the image's own user; of ours, who is not root"
    assert not {"privileged", "pid", "ipc", "network_mode", "devices"} & set(service)


@pytest.mark.parametrize("name", services())
def test_a_container_has_limits(name: str) -> None:
    service = services()[name]
    assert service["mem_limit"]
    assert service["cpu_quota"]  # not `cpus`, which Docker refuses if the machine has fewer
    assert "cpus" not in service
    assert service["pids_limit"] <= 1024
    assert all("size=" in mount for mount in service["tmpfs"])
    assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}


def test_a_container_reaches_only_what_it_needs() -> None:
    assert {name: set(service["networks"]) for name, service in services().items()} == NETWORKS
    networks = yaml.safe_load(text("docker-compose.yml"))["networks"]
    is_internal = {name: bool(network and network.get("internal")) for name, network in networks.items()}
    assert is_internal == {"edge": False, "outside": False, "database": True, "notifier": True, "storage": True}


@pytest.mark.parametrize("name", services())
def test_only_the_migrations_get_the_password_of_the_owner(name: str) -> None:
    variables_of_it = environment(name, **DOTENV | {"POSTGRES_PASSWORD": "of-the-owner"})
    with_it = [variable for variable, value in variables_of_it.items() if "of-the-owner" in value]
    assert with_it == {"postgres": ["POSTGRES_PASSWORD"], "migrate": ["SAFELIGHT_MIGRATIONS_DATABASE_URL"]}.get(
        name, []
    )


@pytest.mark.parametrize(
    "variable", ["POSTGRES_APP_PASSWORD", "VALKEY_PASSWORD", "SAFELIGHT_SECRET_KEY", "S3_SECRET_KEY"]
)
@pytest.mark.parametrize("example_secret", ["changeme", "ChangeMe", "password"])
def test_a_secret_that_is_only_an_example_is_refused(
    variable: str, example_secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment("api", **DOTENV | {variable: example_secret}).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError, match=r"only an example|32 characters or more"):
        Settings()


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_given_settings_that_exist(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in environment(name, **DOTENV).items():
        monkeypatch.setenv(variable, value)
        field = variable.removeprefix("SAFELIGHT_").lower()
        assert field in Settings.model_fields or OTHERS_VARIABLES.fullmatch(variable), variable
    settings = Settings()
    assert settings.database_url == "postgresql://safelight_app:four@postgres:5432/safelight"
    assert settings.storage_url == "s3://safelight"
    assert not settings.presign


@pytest.mark.parametrize("name", OURS)
def test_a_container_runs_a_command_that_exists_with_options_that_exist(name: str) -> None:
    (default,) = instructions("Dockerfile.api", "CMD")
    program, command, *arguments = services()[name].get("command") or default.value
    assert program == "safelight"
    help_page = CliRunner().invoke(app, [command, "--help"])
    assert help_page.exit_code == 0
    options = {argument for argument in arguments if argument.startswith("-")}
    assert options <= set(re.findall(r"--[a-z-]+", help_page.stdout))


def test_the_key_that_the_first_request_needs_can_be_made() -> None:
    commands = {line.partition("api safelight ")[2].split("  ")[0] for line in text("docker-compose.yml").splitlines()}
    assert "keys create me" in commands
    assert CliRunner().invoke(app, ["keys", "create", "--help"]).exit_code == 0


def test_requests_from_outside_need_a_key() -> None:
    assert Settings(host=image_environment("Dockerfile.api")["SAFELIGHT_HOST"]).needs_key


def test_only_the_api_is_published_and_on_loopback_by_default() -> None:
    ports = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert ports == {"api": ["${PUBLISH_ADDRESS:-127.0.0.1}:${PUBLISH_PORT:-8000}:8000"]}
    assert example()["PUBLISH_ADDRESS"] == "127.0.0.1"


@pytest.mark.parametrize("name", ["worker", "openai", "training"])
def test_a_worker_is_given_more_time_to_stop_than_it_takes_to_drain(name: str) -> None:
    assert seconds(services()[name]["stop_grace_period"]) > Settings().drain_timeout.total_seconds() + 10


def test_the_example_names_every_variable_and_no_other() -> None:
    assert set(example()) == set(variables())


def test_secrets_have_no_default() -> None:
    must_be_set = {name for name, kind in variables().items() if kind == "?"}
    assert must_be_set == set(DOTENV)
    assert all(example()[name] == "" for name in must_be_set)
