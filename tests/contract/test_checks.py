"""A model that cannot be loaded is told with its reason before a job comes, without loading any."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.generation_errors import ModelUnavailable
from core.model_files import explain_unusable
from tests.contract.kinds import a_diffusers_generator, a_model
from tests.contract.pipelines import a_tiny_stable_diffusion, save_pipeline, warnings_of_diffusers

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
