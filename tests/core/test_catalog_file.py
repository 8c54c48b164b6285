"""A running process follows the file of its catalogue, and keeps what it has if the new one is broken."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.catalog.file import CatalogFile, replace_catalog
from core.errors import InvalidParameter
from core.parameters.control import Control, resolve_controls
from core.settings import Settings
from worker.generation.models import Models
from worker.generation.presence import _first_models

CATALOG = """
default = "fake"
[[models]]
id = "fake"
generator = "fake"
options = { memory = 1000 }
"""
SECOND = """
[[models]]
id = "second"
generator = "fake"
"""


def test_a_change_takes_effect_and_a_broken_file_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(CATALOG)
    file = CatalogFile(Settings(catalog=path))
    first = file.current()
    assert file.current() is first

    path.write_text(CATALOG + SECOND)
    file.expire()
    assert [model.id for model in file.current().models] == ["fake", "second"]

    for broken in (b"default = ", (CATALOG + SECOND + SECOND).encode(), b'default = "\xe9"'):
        path.write_bytes(broken)
        file.expire()
        assert [model.id for model in file.current().models] == ["fake", "second"]
    path.unlink()
    file.expire()
    assert len(file.current().models) == 2
    assert "is not used, the one before stays" in caplog.text
    assert "duplicate names: second" in caplog.text
    assert "is not UTF-8: invalid continuation byte at byte 11" in caplog.text

    path.write_text(CATALOG)
    file._next_check = 0.0  # a second later
    assert [model.id for model in file.current().models] == ["fake"]
    os.utime(path, ns=(1, 1))
    file._next_check = 0.0
    assert file.current() is not first


CONTROLS = """
default = "sd"

[[models]]
id = "sd"
generator = "diffusers_local"
sizes = ["64x64"]
controls = [
  { type = "canny", source = "net" }, { type = "sketch", source = "adapter" }, { type = "pose", source = "gone" },
]
"""


def test_what_a_control_network_cannot_do_is_refused_before_the_worker(tmp_path: Path) -> None:
    for folder, name in (("net", "ControlNetModel"), ("adapter", "T2IAdapter")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(json.dumps({"_class_name": name}))
    (tmp_path / "catalog.toml").write_text(CONTROLS)
    model = CatalogFile(Settings(models_dir=tmp_path)).current().model("sd")

    def resolve(kind: str, start: float) -> Any:
        return resolve_controls([Control(type=kind, start=start)], model.controls, model.id)

    for kind, start in (("canny", 0.2), ("sketch", 0.0), ("pose", 0.2)):
        assert resolve(kind, start)[0].start == start
    with pytest.raises(InvalidParameter, match="is a T2I-Adapter") as error:
        resolve("sketch", 0.2)
    assert error.value.param == "control.0.start"


def test_a_catalogue_is_replaced_in_one_step(tmp_path: Path) -> None:
    path, link = tmp_path / "catalog.toml", tmp_path / "link.toml"
    path.write_text(CATALOG)
    path.chmod(0o640)
    link.symlink_to(path)

    with path.open() as reader:
        replace_catalog(link, CATALOG + SECOND)
        assert reader.read() == CATALOG
    assert (path.read_text(), path.stat().st_mode & 0o777, link.is_symlink()) == (CATALOG + SECOND, 0o640, True)
    with pytest.raises(UnicodeEncodeError):
        replace_catalog(path, "\ud800")
    assert path.read_text() == CATALOG + SECOND
    assert sorted(tmp_path.iterdir()) == [path, link]


def test_a_changed_model_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(CATALOG)
    file = CatalogFile(Settings(catalog=path))
    models = Models(Settings(device="cpu"))
    first = models.get(file.current().model("fake"))
    assert models.get(file.current().model("fake")) is first

    path.write_text(CATALOG.replace("1000", "2000"))
    file.expire()
    assert models.get(file.current().model("fake")) is not first
    assert models.device().device_bytes in (None, 2000)
    assert models.resident == ["fake"]


def test_a_worker_loads_what_is_marked_and_the_default_last(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(CATALOG + SECOND + "preload = true\n" + SECOND.replace("second", "third"))
    context: Any = SimpleNamespace(catalog=CatalogFile(Settings(catalog=path)).current())
    assert [model.id for model in _first_models(context, ["local"])] == ["second", "fake"]
    assert _first_models(context, ["elsewhere"]) == []
