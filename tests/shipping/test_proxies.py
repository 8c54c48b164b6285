"""The examples of proxies that CI cannot run: what they name exists, and their sizes and times fit the settings."""

import re
from typing import Any

import yaml

from core.settings import Settings
from tests.shipping.files import ROOT, services, text


class Overrides(yaml.SafeLoader):
    """Reads Compose's tags."""


def sequence(loader: Overrides, node: yaml.Node) -> list[Any]:
    assert isinstance(node, yaml.SequenceNode)
    return list(loader.construct_sequence(node))


Overrides.add_constructor("!reset", sequence)


def traefik() -> dict[str, dict[str, Any]]:
    override: dict[str, dict[str, Any]] = yaml.load(text("deploy/compose.traefik.yml"), Overrides)  # noqa: S506 - a SafeLoader
    return override["services"]


def test_traefik_is_before_the_api_of_the_compose_file() -> None:
    api, proxy = traefik()["api"], traefik()["traefik"]

    assert api["ports"] == []
    assert {name.removeprefix("SAFELIGHT_").lower() for name in api["environment"]} <= set(Settings.model_fields)
    assert Settings(trusted_proxies=api["environment"]["SAFELIGHT_TRUSTED_PROXIES"]).trusted_networks
    assert set(proxy["networks"]) <= set(services()["api"]["networks"])
    assert api["labels"]["traefik.http.services.safelight.loadbalancer.server.port"] == "8000"
    assert re.fullmatch(r"traefik:v\d+\.\d+", proxy["image"])
    project = yaml.safe_load(text("docker-compose.yml"))["name"]
    assert f"--providers.docker.network={project}_edge" in proxy["command"]


def test_the_sizes_and_times_of_the_caddyfile_fit_the_settings() -> None:
    caddyfile, settings = text("deploy/Caddyfile"), Settings()

    (size,) = re.findall(r"max_size (\d+)MiB", caddyfile)
    assert settings.max_file_bytes < int(size) * 2**20 < settings.max_file_bytes * 1.1
    (seconds,) = re.findall(r"response_header_timeout (\d+)s", caddyfile)
    assert int(seconds) > settings.sync_timeout.total_seconds()
    (idle,) = re.findall(r"keepalive (\d+)s", caddyfile)
    assert int(idle) < settings.keep_alive.total_seconds()


def test_every_example_is_documented() -> None:
    documentation = text("docs/06-operations.md")

    for name in ("nginx.conf", "Caddyfile", "compose.traefik.yml"):
        assert (ROOT / "deploy" / name).exists()
        assert f"(../deploy/{name})" in documentation
