"""What `safelight` refuses: one sentence on stderr, exit code 1, and no process started."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.local.ports import free_port
from core.settings import NEW_NAMES, Settings
from tests.cli.terminal import Terminal


@pytest.fixture
def terminal(directory: Path) -> Terminal:
    return Terminal(directory / "refusals", free_port())


@pytest.fixture
def taken_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


def test_a_taken_port_is_named(terminal: Terminal, taken_port: str) -> None:
    message = terminal.refusal("up", SAFELIGHT_PORT=taken_port)
    assert message == f"Port {taken_port} of 127.0.0.1 is in use: set SAFELIGHT_PORT to a free one."


def test_a_data_directory_that_cannot_be_written_is_named(terminal: Terminal) -> None:
    file = terminal.directory / "a-file"
    file.touch()
    message = terminal.refusal("up", SAFELIGHT_DATA_DIR=str(file))
    assert (
        message == f"The data directory {file} cannot be written (File exists): set SAFELIGHT_DATA_DIR to another one."
    )


def test_a_missing_catalogue_is_named(terminal: Terminal) -> None:
    message = terminal.refusal("up", SAFELIGHT_CATALOG="/nowhere/catalog.toml")
    assert message == "There is no catalogue at /nowhere/catalog.toml; set SAFELIGHT_CATALOG to one."


def test_a_model_without_its_files_is_named(terminal: Terminal) -> None:
    catalog = terminal.directory / "bundled.toml"
    catalog.write_text('default = "m"\n[[models]]\nid = "m"\ngenerator = "diffusers_local"\nsource = "not-here"\n')
    message = terminal.refusal("up", SAFELIGHT_CATALOG=str(catalog), SAFELIGHT_MODELS_DIR=str(terminal.directory))
    assert message.startswith(
        f"The model m is not in {terminal.directory / 'not-here'} (there is no model_index.json): "
    )


def test_a_worker_for_openai_needs_a_key(terminal: Terminal) -> None:
    catalog = terminal.directory / "remote.toml"
    catalog.write_text(
        'default = "m"\n[[models]]\nid = "m"\ngenerator = "openai_images"\nqueue = "q"\nmicrobatch_size = 1\n'
    )
    environment = {"SAFELIGHT_DATABASE_URL": "postgresql://127.0.0.1:9/x", "SAFELIGHT_REDIS_URL": "redis://127.0.0.1:9"}
    message = terminal.refusal("worker", "--queue", "q", SAFELIGHT_CATALOG=str(catalog), **environment)
    assert message == "The models of q need SAFELIGHT_OPENAI_API_KEY and the packages of `pip install 'openai>=3.54'`."


def test_a_wrong_setting_is_named(terminal: Terminal) -> None:
    message = terminal.refusal("up", SAFELIGHT_PORT="99999")
    assert message == "The setting SAFELIGHT_PORT is wrong: Input should be less than or equal to 65535."


def test_settings_that_do_not_fit_together_are_explained(terminal: Terminal) -> None:
    message = terminal.refusal("up", SAFELIGHT_LEASE="10", SAFELIGHT_HEARTBEAT="9")
    assert message == (
        "The settings are wrong: heartbeat must be at most half of lease, or a single late heartbeat loses the job."
    )


@pytest.mark.parametrize(("old", "new"), NEW_NAMES.items())
def test_the_old_name_of_a_setting_is_an_error_that_names_the_new_one(terminal: Terminal, old: str, new: str) -> None:
    assert (
        terminal.refusal("up", **{old: "1000000"}) == f"The settings are wrong: {old} was renamed: set {new} instead."
    )


def test_every_renamed_setting_has_a_name_that_exists() -> None:
    assert set(NEW_NAMES.values()) <= {f"SAFELIGHT_{name.upper()}" for name in Settings.model_fields}


def test_a_part_that_needs_a_database_says_where_to_get_one(terminal: Terminal) -> None:
    message = terminal.refusal("migrate")
    assert message == (
        f"There is no postgres under {terminal.data_dir}: start `safelight up` on this directory, "
        "or set SAFELIGHT_DATABASE_URL."
    )


def test_the_overview_names_every_command_and_imports_none(terminal: Terminal) -> None:
    result = terminal.run("--help", PYTHONPROFILEIMPORTTIME="1")
    parts = ("api", "worker", "sweep", "deliver", "migrate")
    for name in ("up", "generate", "watch", "jobs", "doctor", "keys", *parts, "version"):
        assert f"\n  {name} " in result.stdout
    modules = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "typer" in modules
    assert not modules & {
        "pydantic",
        "sqlalchemy",
        "rich",
        "httpx",
        "celery",
        "fastapi",
        "torch",
        "psycopg",
        "cli.local.up",
    }
