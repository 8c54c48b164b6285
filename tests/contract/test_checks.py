"""A model that cannot be loaded is told with its reason before a job comes, without loading any."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from core.generation import ImagesRejected
from core.generation_errors import ModelUnavailable
from core.model_files.problems import explain_unusable
from core.settings import Settings
from tests.contract.control_families import flux_with_control_inputs
from tests.contract.kinds import a_diffusers_generator, a_model
from tests.contract.pipelines import a_tiny_stable_diffusion, save_pipeline, warnings_of_diffusers
from worker.generation.models import Models

pytestmark = warnings_of_diffusers


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return save_pipeline(a_tiny_stable_diffusion(), tmp_path / "whole")


def truncate(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def point_to_large_file_storage(folder: Path) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")


def pickle(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))


def leave_out_a_component(folder: Path) -> None:
    shutil.rmtree(folder / "text_encoder")


def leave_out_the_weights(folder: Path) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()


def leave_out_a_shard(folder: Path) -> None:
    (folder / "text_encoder" / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "text_encoder" / "model.safetensors.index.json").write_text(json.dumps(index))


def break_the_configuration(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text("{")


def break_the_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("[]")


def ask_for_code(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": ["own", "Pipeline"]}))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (truncate, "bytes: copy or download it again"),
        (point_to_large_file_storage, "is no safetensors file"),
        (pickle, "has pickled weights only (.bin)"),
        (leave_out_a_component, "incomplete: there is no text_encoder, which its model_index.json names"),
        (leave_out_the_weights, "vae has no weights"),
        (leave_out_a_shard, "there is no model-00001-of-00002.safetensors"),
        (break_the_configuration, "config.json is not valid JSON"),
        (break_the_index, "names no pipeline"),
        (ask_for_code, "code of its own, which is never run"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told_why(
    whole: Path, spoil: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(whole, tmp_path / "model")
    model = a_model(source=str(folder))
    assert explain_unusable(model, tmp_path) is None
    spoil(folder)

    assert reason in str(explain_unusable(model, tmp_path))
    with pytest.raises(ModelUnavailable):  # it was not told for nothing
        a_diffusers_generator(folder).load()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"loras": [{"name": "a", "file": "none.safetensors"}]}, "The LoRA 'a' is missing"),
        ({"fused_loras": [{"file": "none.safetensors"}]}, "The fused LoRA is missing"),
        ({"textual_inversions": [{"token": "<a>", "file": "none.safetensors"}]}, "inversion '<a>' is missing"),
        ({"vae": {"source": "none"}}, "The vae is missing"),
        ({"controls": [{"type": "canny", "source": "none"}]}, "The control network 'canny' is missing"),
        ({"preprocessors": {"depth": "none"}}, "The preprocessor 'depth' is missing"),
        ({"refiners": [{"name": "a", "source": "none"}]}, "The refiner 'a' is missing"),
        ({"hires": {"networks": [{"name": "a", "source": "none"}]}}, "The upscaler 'a' is missing"),
        ({"matting": {"source": "none"}}, "The matting is missing"),
        ({"words": "none.txt"}, "The file of its words is missing"),
    ],
)
def test_a_missing_file_beside_a_pipeline_is_told(
    whole: Path, changes: dict[str, object], reason: str, tmp_path: Path
) -> None:
    assert reason in str(explain_unusable(a_model(source=str(whole), **changes), tmp_path))


def test_a_pipeline_that_diffusers_does_not_have_and_a_missing_package_are_told(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / "model")
    with pytest.raises(ModelUnavailable, match="needs the module bitsandbytes"):
        a_diffusers_generator(folder, quantization={"unet": "bitsandbytes_4bit"}).check()
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "TomorrowPipeline"}))
    with pytest.raises(ModelUnavailable, match="has no pipeline TomorrowPipeline"):
        a_diffusers_generator(folder).check()


def test_a_network_beside_a_pipeline_that_was_copied_in_part_is_told(whole: Path, tmp_path: Path) -> None:
    model = a_model(source=str(whole), matting={"source": "whole/unet"})
    assert explain_unusable(model, tmp_path) is None
    truncate(whole)
    assert "copy or download it again" in str(explain_unusable(model, tmp_path))
    adapter = {"name": "a", "file": "whole/vae/diffusion_pytorch_model.safetensors", "image_encoder": "none"}
    whole_vae = a_model(source="whole", ip_adapters=[adapter])
    (whole / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(
        (whole / "vae" / "diffusion_pytorch_model.safetensors").read_bytes()
    )
    assert "The image encoder of the IP-Adapter 'a' is missing" in str(explain_unusable(whole_vae, tmp_path))


def test_a_model_whose_self_test_fails_takes_no_memory(whole: Path, tmp_path: Path) -> None:
    path = whole / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    save_file(weights | {"conv_in.weight": weights["conv_in.weight"] * float("nan")}, path)
    model = a_model(source=str(whole), sizes=["32x32"], microbatch_size=1, self_test=True)
    models = Models(Settings(device="cpu", torch_threads=1))
    for _ in range(2):
        with pytest.raises(ImagesRejected):
            models.get(model)
        generator: Any = models._generators[model.id]
        assert generator._pipe is None, "its weights stayed, and nothing counted them"
    assert models.device().models == {}


def test_a_model_that_needs_a_control_image_is_tested_with_one(tmp_path: Path) -> None:
    folder = save_pipeline(flux_with_control_inputs(), tmp_path / "control")
    model = a_model(
        source=str(folder), controls=[{"type": "depth"}], sizes=["32x32"], steps={"default": 2}, self_test=True
    )
    models = Models(Settings(device="cpu", torch_threads=1))
    models.get(model)
    assert models.self_test(model.id) is not None
    with pytest.raises(ValueError, match="self_test needs the operation generation"):
        a_model(operations=["edit"], self_test=True)
