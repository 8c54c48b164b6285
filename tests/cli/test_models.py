"""`safelight models`: what the catalogue has, whether it works, and an entry for a new model."""

import json
import tomllib
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.contract.pipelines import a_tiny_stable_diffusion, save_pipeline, warnings_of_diffusers

MISSING = """
[[models]]
id = "absent"
generator = "diffusers_local"
source = "nowhere"
"""


@pytest.fixture
def terminal(directory: Path, tmp_path: Path) -> Terminal:
    return Terminal(tmp_path, 1)


def catalog_of(terminal: Terminal) -> Path:
    return terminal.directory / "catalog.toml"


def a_folder(path: Path, name: object = "StableDiffusionXLPipeline") -> Path:
    """A pipeline's directory with one file of weights: 300 numbers."""
    (path / "unet").mkdir(parents=True)
    (path / "model_index.json").write_text(json.dumps({"_class_name": name}))
    header = json.dumps({"a": {"dtype": "F16", "shape": [10, 30], "data_offsets": [0, 600]}}).encode()
    (path / "unet" / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(600))
    (path / "README.md").write_text("---\nlicense: openrail++\n---\n# A model\n")
    return path


def test_a_model_that_fails_is_named_and_the_others_are_checked(terminal: Terminal, tmp_path: Path) -> None:
    with catalog_of(terminal).open("a") as file:
        file.write(MISSING)

    result = terminal.run("models", "check", "fake", "absent", "--output", "images")

    assert result.returncode == 1
    ok, failure = result.stdout.splitlines()
    assert ok.startswith("fake: ok, 64x64 on cpu (uint8): load ")
    assert failure.startswith("absent: FAILED: The model absent is not in ")
    assert result.stderr == "safelight: 1 of 2 models cannot be used; the lines above say why.\n"
    assert (tmp_path / "images" / "fake.png").read_bytes().startswith(b"\x89PNG")
    assert "nope" in terminal.refusal("models", "check", "nope")
    result = terminal.run("models", "check", "fake", "--output", str(catalog_of(terminal)))
    assert (result.returncode, "catalog.toml/fake.png cannot be written" in result.stderr) == (1, True), result


def test_a_directory_gets_an_entry_with_what_its_family_needs(terminal: Terminal, tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "My Model")

    result = terminal.run("models", "add", str(folder), "--write")

    assert result.returncode == 0, result
    entry = tomllib.loads(catalog_of(terminal).read_text())["models"][-1]
    assert tomllib.loads(result.stdout)["models"] == [entry]
    assert (entry["id"], entry["source"], entry["licence"]) == ("my-model", str(folder), "openrail++")
    assert entry["operations"] == ["generation", "edit"]
    assert (entry["sizes"][0], entry["steps"]["default"], entry["guidance_scale"]["default"]) == ("1024x1024", 30, 7.0)
    assert "my-model" in terminal.run("models", "list").stdout
    assert "already" in terminal.refusal("models", "add", str(folder))


def test_an_entry_that_the_catalogue_cannot_have_is_not_written(terminal: Terminal, tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "a\x7fname")
    assert terminal.run("models", "add", str(folder), "--write").returncode == 0
    entry = tomllib.loads(catalog_of(terminal).read_text())["models"][-1]
    assert entry["source"] == str(folder)

    in_line = (
        'default = "fake"\nmodels = [{ id = "fake", generator = "fake" }]\n'  # to which no [[models]] can be added
    )
    catalog_of(terminal).write_text(in_line)
    result = terminal.run("models", "add", str(folder), "--write")
    assert (result.returncode, "Nothing was written" in result.stderr) == (1, True), result
    assert catalog_of(terminal).read_text() == in_line
    assert "not UTF-8" in terminal.refusal("models", "add", str(a_folder(tmp_path / "m", "\ud800")))


@pytest.mark.parametrize(
    ("name", "says"), [(["pipeline", "Mine"], "code of its own"), (None, "code of its own"), ("", "guesses")]
)
def test_what_an_entry_cannot_know_is_said(terminal: Terminal, tmp_path: Path, name: object, says: str) -> None:
    result = terminal.run("models", "add", str(a_folder(tmp_path / "m", name)))

    assert says in result.stderr


def test_what_is_no_pipeline_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")

    assert "no model_index.json" in terminal.refusal("models", "add", str(tmp_path))
    assert "from_single_file" in terminal.refusal("models", "add", str(tmp_path / "model.safetensors"))
    assert "no directory" in terminal.refusal("models", "add", str(tmp_path / "nothing"))


@pytest.mark.slow
@warnings_of_diffusers
def test_a_real_pipeline_is_added_and_generates(terminal: Terminal, tmp_path: Path) -> None:
    folder = save_pipeline(a_tiny_stable_diffusion(), tmp_path / "tiny")
    assert terminal.run("models", "add", str(folder), "--write").returncode == 0
    path = catalog_of(terminal)
    path.write_text(path.read_text().replace('"512x512", "512x768", "768x512"', '"32x32"'))

    result = terminal.run("models", "check", "tiny", SAFELIGHT_DEVICE="cpu")

    assert result.returncode == 0, result
    assert result.stdout.startswith("tiny: ok, 32x32 on cpu (float32)")
