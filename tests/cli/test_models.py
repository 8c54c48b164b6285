"""`safelight models`: what the catalogue has, whether it works, and an entry for a new model."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cli.errors import CommandError
from cli.models.entry import entry_of
from cli.models.ip_adapter_entry import ip_adapter_entry_of, is_ip_adapter_file
from cli.models.lora_entry import write_file_entry
from core.catalog import Catalog, load_catalog
from core.model_files.checkpoints import family_of
from core.settings import Settings
from tests.cli.terminal import Terminal
from tests.contract.kinds import a_model
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


def a_folder(path: Path, name: object = "StableDiffusionXLPipeline", **values: object) -> Path:
    """A pipeline's directory with one file of weights: 300 numbers."""
    (path / "unet").mkdir(parents=True)
    (path / "model_index.json").write_text(json.dumps({"_class_name": name, **values}))
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


@pytest.mark.parametrize(
    ("layers", "parameter"),
    [((12, 32), {"max": 11}), ((32,), {"max": 24}), ((3,), {"max": 2}), ((1,), None), ((), None)],
)
def test_clip_skip_goes_as_far_as_the_text_encoders(
    tmp_path: Path, layers: tuple[int, ...], parameter: dict[str, int] | None
) -> None:
    folder = a_folder(tmp_path / "model")
    for name, count in zip(("text_encoder", "text_encoder_2"), layers, strict=False):
        (folder / name).mkdir()
        config = {"model_type": "clip_text_model", "num_hidden_layers": count}
        (folder / name / "config.json").write_text(json.dumps(config))

    catalog = Catalog(default="fake", models=(a_model(id="fake", generator="fake"),))

    entry = entry_of(str(folder), None, None, catalog, Settings())

    assert tomllib.loads(entry.toml)["models"][0]["parameters"].get("clip_skip") == parameter
    assert any("clip_skip is left out" in note for note in entry.notes) == (parameter is None)


@pytest.mark.parametrize(("is_distilled", "highest"), [(True, 1.0), (False, 20.0)])
def test_a_distilled_model_has_no_other_guidance_scale(tmp_path: Path, is_distilled: bool, highest: float) -> None:
    folder = a_folder(tmp_path / "klein", "Flux2KleinPipeline", is_distilled=is_distilled)
    catalog = Catalog(default="fake", models=(a_model(id="fake", generator="fake"),))

    entry = entry_of(str(folder), None, None, catalog, Settings())

    (model,) = tomllib.loads(entry.toml)["models"]
    assert (model["guidance_scale"]["default"], model["guidance_scale"]["max"]) == (1.0, highest)


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
    (tmp_path / "model.ckpt").write_bytes(b"x")

    assert "no model_index.json" in terminal.refusal("models", "add", str(tmp_path))
    assert "no safetensors file" in terminal.refusal("models", "add", str(tmp_path / "model.safetensors"))
    assert "may be a pickle" in terminal.refusal("models", "add", str(tmp_path / "model.ckpt"))
    assert "no directory" in terminal.refusal("models", "add", str(tmp_path / "nothing"))


def a_file(path: Path, shapes: dict[str, list[int]]) -> Path:
    """A file with the names and shapes of a checkpoint, and none of its weights."""
    header = json.dumps({name: {"dtype": "F16", "shape": shape} for name, shape in shapes.items()}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


UNET = "model.diffusion_model"
SDXL = {"conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias": [1280], "first_stage_model.a": [9]}
SD1 = {f"{UNET}.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight": [320, 768]}
FLUX = {"double_blocks.0.img_attn.norm.key_norm.scale": [128], "guidance_in.in_layer.bias": [3072]}


@pytest.mark.parametrize(
    ("shapes", "family"),
    [
        (SDXL, "Stable Diffusion XL"),
        (SDXL | {f"{UNET}.input_blocks.0.0.weight": [320, 9, 3, 3]}, "Stable Diffusion XL inpainting"),
        (
            {"conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias": [1280]},
            "Stable Diffusion XL refiner",
        ),
        (SD1, "Stable Diffusion 1"),
        (SD1 | {f"{UNET}.input_blocks.0.0.weight": [320, 9, 3, 3]}, "Stable Diffusion 1 inpainting"),
        ({name: [320, 1024] for name in SD1}, "Stable Diffusion 2"),
        ({f"{UNET}.joint_blocks.0.context_block.adaLN_modulation.1.bias": [9216]}, "Stable Diffusion 3"),
        (FLUX, "FLUX.1 dev"),
        (FLUX | {"img_in.weight": [3072, 384]}, "FLUX.1 Fill"),
        ({"double_blocks.0.img_attn.norm.key_norm.scale": [128]}, "FLUX.1 schnell"),
        ({name: [320, 512] for name in SD1}, None),
    ],
)
def test_the_tensors_of_a_checkpoint_tell_its_family(shapes: dict[str, list[int]], family: str | None) -> None:
    recognised = family_of(shapes)
    assert (recognised and recognised.name) == family


def test_a_checkpoint_gets_an_entry_of_its_family(terminal: Terminal, tmp_path: Path) -> None:
    file = a_file(tmp_path / "My Style.safetensors", SDXL)
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    assert "Name the directory of a diffusers pipeline" in terminal.refusal("models", "add", str(file), **offline)

    wrong = a_folder(tmp_path / "wrong", "StableDiffusionPipeline")
    says = terminal.refusal("models", "add", str(file), "--config", str(wrong))
    assert "is Stable Diffusion XL (StableDiffusionXLPipeline), but its config" in says

    config = a_folder(tmp_path / "sdxl")
    result = terminal.run("models", "add", str(file), "--config", str(config), "--write")
    assert result.returncode == 0, result
    entry = tomllib.loads(catalog_of(terminal).read_text())["models"][-1]
    assert (entry["id"], entry["source"], entry["config"]) == ("my-style", str(file), str(config))
    assert (entry["licence"], entry["steps"]["default"]) == ("", 30)
    second = terminal.run("models", "add", str(file), "--id", "again")
    assert tomllib.loads(second.stdout)["models"][0]["config"] == str(config), second

    denoiser = a_file(tmp_path / "flux.safetensors", FLUX)
    flux = a_folder(tmp_path / "flux", "FluxPipeline")
    assert "has the denoiser only" in terminal.refusal("models", "add", str(denoiser), "--config", str(flux))


def test_a_lora_becomes_part_of_the_only_model_of_its_family(terminal: Terminal, tmp_path: Path) -> None:
    layer = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    file = a_file(tmp_path / "Pixel Art.safetensors", {f"{layer}.lora_down.weight": [4, 2048]})
    with catalog_of(terminal).open("a") as catalog:
        catalog.write("# mine\n" + MISSING.replace("absent", "xl").replace("nowhere", str(a_folder(tmp_path / "xl"))))
    models_dir = {"SAFELIGHT_MODELS_DIR": str(tmp_path / "models")}
    (tmp_path / "models").mkdir()

    result = terminal.run("models", "add", str(file), "--write", **models_dir)
    assert result.returncode == 0, result
    assert terminal.run("models", "add", str(file), "--write", "--id", "second", **models_dir).returncode == 1

    text = catalog_of(terminal).read_text()
    assert "# mine" in text
    assert tomllib.loads(text)["models"][-1]["loras"] == [
        {"name": "Pixel-Art", "file": "loras/Pixel Art.safetensors"},
    ]
    assert (tmp_path / "models" / "loras" / "Pixel Art.safetensors").read_bytes() == file.read_bytes()
    dora = a_file(tmp_path / "dora.safetensors", {f"{layer}.dora_scale": [4, 1]})
    other = a_file(tmp_path / "other.safetensors", {f"{layer}.lora_down.weight": [4, 768]})
    unknown = a_file(tmp_path / "unknown.safetensors", {"unet.x.lora_A.weight": [4, 16]})
    for arguments, says in (
        ((str(dora),), "is DoRA, which cannot be loaded completely"),
        ((str(other),), "trained for Stable Diffusion 1, of which the catalogue has none"),
        ((str(other), "--model", "xl"), "trained for Stable Diffusion 1, which xl is not"),
        ((str(unknown),), "does not tell which models it was trained for"),
        ((str(file), "--model", "fake"), "no model fake that could use Pixel Art.safetensors; there are: xl"),
    ):
        assert says in terminal.refusal("models", "add", *arguments, **models_dir)


def test_an_ip_adapter_is_added_to_the_model_of_its_family_with_its_image_encoder(tmp_path: Path) -> None:
    models_dir, catalog_path = tmp_path / "models", tmp_path / "catalog.toml"
    for folder in (models_dir / "clip", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    a_folder(models_dir / "xl")
    catalog_path.write_text('default = "xl"\n' + MISSING.replace("absent", "xl").replace("nowhere", "xl"))
    settings = Settings(models_dir=models_dir)
    file = a_file(tmp_path / "plus.safetensors", {"image_proj.a": [1, 1], "ip_adapter.1.to_k_ip.weight": [4, 2048]})
    other = a_file(tmp_path / "sd.safetensors", {"image_proj.a": [1, 1], "ip_adapter.1.to_k_ip.weight": [4, 768]})
    assert is_ip_adapter_file(file)
    assert not is_ip_adapter_file(catalog_path)

    def entry(file: Path, name: str | None = None, encoder: Path | None = None) -> Any:
        return ip_adapter_entry_of(file, name, None, encoder, load_catalog(catalog_path), settings)

    with pytest.raises(CommandError, match="needs its image encoder"):
        entry(file)
    with pytest.raises(CommandError, match=r"must be in .*models"):
        entry(file, encoder=tmp_path / "elsewhere")
    with pytest.raises(CommandError, match=r"there is no .*config\.json"):
        entry(file, encoder=Path("nowhere"))
    with pytest.raises(CommandError, match="trained for Stable Diffusion 1, of which the catalogue has none"):
        entry(other, encoder=Path("clip"))
    write_file_entry(entry(file, encoder=Path("clip")), catalog_path)
    with pytest.raises(CommandError, match="has an IP-Adapter plus already"):
        entry(file)
    second = a_file(
        models_dir / "style.safetensors", {"image_proj.a": [1, 1], "ip_adapter.1.to_k_ip.weight": [4, 2048]}
    )
    write_file_entry(entry(second), catalog_path)
    assert tomllib.loads(catalog_path.read_text())["models"][-1]["ip_adapters"] == [
        {"name": "plus", "file": "ip_adapters/plus.safetensors", "image_encoder": "clip"},
        {"name": "style", "file": "style.safetensors", "image_encoder": "clip"},
    ]
    assert (models_dir / "ip_adapters" / "plus.safetensors").read_bytes() == file.read_bytes()


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
