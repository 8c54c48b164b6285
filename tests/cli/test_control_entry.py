"""`safelight models add` of control networks: which model each fits, as far as the configurations tell."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.errors import CommandError
from cli.models.control_entry import control_entry_of, control_lora_entry_of
from cli.models.entry import FAMILIES, READ_CONTROL_IMAGES, entry_of
from cli.models.lora_entry import FileEntry, write_file_entry
from core.catalog import load_catalog
from core.settings import Settings
from tests.cli.terminal import Terminal

SDXL: Mapping[str, Any] = {"cross_attention_dim": 2048, "block_out_channels": [320, 640, 1280]}
SD1: Mapping[str, Any] = {"cross_attention_dim": 768, "block_out_channels": [320, 640, 1280, 1280]}
WEIGHTS = "diffusion_pytorch_model.safetensors"


def a_network(folder: Path, name: str, **config: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"_class_name": name, **config}))
    for file in (WEIGHTS, "diffusion_pytorch_model.bin", "README.md"):
        (folder / file).write_bytes(b"w")
    return folder


def a_pipeline(folder: Path, name: str, part: str, denoiser: str, **config: Any) -> None:
    (folder / part).mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": name, part: ["diffusers", denoiser]}))
    (folder / part / "config.json").write_text(json.dumps(config))


def a_file(path: Path, shapes: dict[str, list[int]]) -> Path:
    header = json.dumps({name: {"dtype": "F16", "shape": shape} for name, shape in shapes.items()}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


class Models:
    """A catalogue whose models have configurations and no weights."""

    def __init__(self, folder: Path) -> None:
        self.models_dir, self.catalog_path = folder / "models", folder / "catalog.toml"
        a_pipeline(self.models_dir / "xl", "StableDiffusionXLPipeline", "unet", "UNet2DConditionModel", **SDXL)
        a_pipeline(self.models_dir / "sd", "StableDiffusionPipeline", "unet", "UNet2DConditionModel", **SD1)
        a_pipeline(self.models_dir / "flux", "FluxPipeline", "transformer", "FluxTransformer2DModel", in_channels=64)
        edits = "FluxKontextPipeline"
        a_pipeline(self.models_dir / "kontext", edits, "transformer", "FluxTransformer2DModel", in_channels=64)
        models = [
            f'[[models]]\nid = "{name}"\ngenerator = "diffusers_local"\nsource = "{name}"\n'
            for name in ("xl", "sd", "flux", "kontext", "elsewhere")
        ]
        self.catalog_path.write_text("\n".join(['default = "xl" # mine', *models]))

    def entry(self, folder: Path, kind: str | None = None, mode: int | None = None, model: str | None = None) -> Any:
        settings = Settings(models_dir=self.models_dir)
        return control_entry_of(folder, kind, mode, model, load_catalog(self.catalog_path), settings)

    def control_lora(self, file: Path, model: str) -> FileEntry | None:
        settings = Settings(models_dir=self.models_dir)
        return control_lora_entry_of(file, None, model, load_catalog(self.catalog_path), settings)

    def controls(self, model: str) -> Any:
        models = tomllib.loads(self.catalog_path.read_text())["models"]
        return next(entry.get("controls") for entry in models if entry["id"] == model)


@pytest.fixture
def catalog(tmp_path: Path) -> Models:
    return Models(tmp_path)


def test_a_control_network_is_copied_and_added_to_the_model_that_it_fits(directory: Path, catalog: Models) -> None:
    terminal = Terminal(directory, 1, SAFELIGHT_MODELS_DIR=str(catalog.models_dir))
    (directory / "catalog.toml").write_text(catalog.catalog_path.read_text())
    catalog.catalog_path = directory / "catalog.toml"
    folder = a_network(directory / "controlnet-canny-sdxl-1.0", "ControlNetModel", **SDXL)

    result = terminal.run("models", "add", str(folder), "--write")

    assert result.returncode == 0, result
    assert result.stdout.startswith('[[models.controls]]\ntype = "canny"\n')
    assert catalog.controls("xl") == [{"type": "canny", "source": "controls/controlnet-canny-sdxl-1.0"}]
    assert "# mine" in catalog.catalog_path.read_text()
    copied = catalog.models_dir / "controls" / "controlnet-canny-sdxl-1.0"
    assert sorted(path.name for path in copied.iterdir()) == ["config.json", WEIGHTS]
    assert "has a control canny already" in terminal.refusal("models", "add", str(folder))


def test_a_union_network_is_copied_once_and_has_an_entry_for_each_mode(tmp_path: Path, catalog: Models) -> None:
    union = a_network(tmp_path / "union", "ControlNetUnionModel", num_control_type=6, **SDXL)
    for mode in (None, 6):
        with pytest.raises(CommandError, match=r"Stable Diffusion XL, one network for 6 kinds .* from 0 to 5, with"):
            catalog.entry(union, mode=mode)
    for kind, mode in (("canny", 3), ("depth", 1)):
        write_file_entry(catalog.entry(union, kind, mode), catalog.catalog_path)
    assert catalog.controls("xl") == [
        {"type": "canny", "source": "controls/union", "mode": 3},
        {"type": "depth", "source": "controls/union", "mode": 1},
    ]
    (union / WEIGHTS).write_bytes(b"another")
    with pytest.raises(CommandError, match="exists already; rename union"):
        catalog.entry(union, "tile", 4)


@pytest.mark.parametrize(
    ("name", "config", "model"),
    [
        ("ControlNetModel", SD1, "sd"),
        ("T2IAdapter", {"adapter_type": "full_adapter_xl", "channels": [320, 640]}, "xl"),
        ("T2IAdapter", {"adapter_type": "full_adapter", "channels": [320, 640]}, "sd"),
        ("FluxControlNetModel", {"num_mode": None}, "flux"),
    ],
)
def test_the_configuration_tells_the_model(name: str, config: Any, model: str, tmp_path: Path, catalog: Models) -> None:
    folder = a_network(tmp_path / "Pose_Openpose v1", name, **config)
    entry = catalog.entry(folder)
    assert (entry.model_id, entry.values["type"]) == (model, "pose")
    (elsewhere,) = catalog.entry(folder, model="elsewhere").notes
    assert "the configuration of elsewhere is not here" in elsewhere


def test_what_fits_no_model_is_named_with_the_models_that_it_fits(tmp_path: Path, catalog: Models) -> None:
    xl = a_network(tmp_path / "canny", "ControlNetModel", **SDXL)
    other = a_network(tmp_path / "other", "SanaControlNetModel")
    unknown = a_network(tmp_path / "unknown", "HunyuanDiT2DControlNetModel")
    pickle = a_network(tmp_path / "pickle", "ControlNetModel", **SDXL)
    (pickle / WEIGHTS).unlink()
    flux = a_network(tmp_path / "flux", "FluxControlNetModel")
    for arguments, says in (
        ((xl, None, None, "sd"), r"a ControlNetModel for Stable Diffusion XL, which does not fit sd: .* It fits: xl"),
        ((xl, None, None, "nothing"), "there is no model nothing that could use it. It fits: xl"),
        ((xl, None, 1), "is no union of several networks: it has no --mode"),
        ((xl, "a type"), "'a type' is no type of control images"),
        ((other,), r"a SanaControlNetModel for Sana; it fits no model .*sd: a SanaControlNetModel is for a Sana"),
        ((unknown,), "a HunyuanDiT2DControlNetModel: no pipeline, and none of the control networks"),
        ((pickle,), "has no diffusion_pytorch_model.safetensors"),
        ((flux, None, None, "kontext"), "has no pipeline of FluxKontext"),
    ):
        with pytest.raises(CommandError, match=says):
            catalog.entry(*arguments)


def test_a_control_lora_of_flux_is_told_from_other_loras_by_its_inputs(tmp_path: Path, catalog: Models) -> None:
    def a_lora(name: str, inputs: int) -> Path:
        layers = {"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": [4, 3072]}
        return a_file(tmp_path / f"{name}.safetensors", layers | {"transformer.x_embedder.lora_A.weight": [4, inputs]})

    assert catalog.control_lora(a_lora("plain", 64), "flux") is None
    file = a_lora("flux1-depth-dev-lora", 128)
    with pytest.raises(CommandError, match="a Control-LoRA for FluxPipeline, but kontext is FluxKontextPipeline"):
        catalog.control_lora(file, "kontext")
    entry = catalog.control_lora(file, "flux")
    assert entry is not None
    write_file_entry(entry, catalog.catalog_path)
    assert catalog.controls("flux") == [{"type": "depth", "source": "controls/flux1-depth-dev-lora.safetensors"}]
    with pytest.raises(CommandError, match="flux has the control depth already"):
        catalog.control_lora(file, "flux")
    with pytest.raises(CommandError, match=r"flux reads its control image \(depth\) itself"):
        catalog.entry(a_network(tmp_path / "canny", "FluxControlNetModel"), model="flux")


def test_a_model_that_reads_control_images_itself_gets_their_type(tmp_path: Path, catalog: Models) -> None:
    folder = tmp_path / "FLUX.1-Canny-dev"
    a_pipeline(folder, READ_CONTROL_IMAGES[0], "transformer", "FluxTransformer2DModel", in_channels=128)
    entry = entry_of(str(folder), None, None, load_catalog(catalog.catalog_path), Settings())
    (model,) = tomllib.loads(entry.toml)["models"]
    assert model["controls"] == [{"type": "canny"}]
    assert READ_CONTROL_IMAGES[0] in FAMILIES
