"""Checkpoints: one file draws what its pipeline draws, without the hub; what cannot be loaded is said in a sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.generation_errors import ModelUnavailable
from core.model_files.checkpoints import SD1, SDXL, CheckpointFamily, family_of
from core.model_files.weights import read_shapes

from .kinds import RecordingReporter, a_diffusers_generator, a_model, a_request
from .original_layout import a_checkpoint_of_sd1, a_checkpoint_of_sdxl, config_folder
from .pipelines import a_tiny_flux, save_pipeline, warnings_of_diffusers

pytestmark = warnings_of_diffusers

Make = Callable[[Path], tuple[Any, Path]]


def draw(generator: Any) -> Any:
    return numpy.asarray(generator.generate([a_request("text-to-image", steps=2)], RecordingReporter())[0])


@pytest.mark.parametrize(
    ("make", "family"),
    [(a_checkpoint_of_sd1, SD1), (a_checkpoint_of_sdxl, SDXL)],
)
def test_a_checkpoint_draws_what_its_pipeline_draws(make: Make, family: CheckpointFamily, tmp_path: Path) -> None:
    pipe, file = make(tmp_path)
    whole = a_diffusers_generator(save_pipeline(pipe, tmp_path / "whole"))
    config = config_folder(pipe, tmp_path / "config")
    generator = a_diffusers_generator(file, config=str(config))

    assert family_of(read_shapes(file)) == family
    assert generator.memory().weights == pytest.approx(whole.memory().weights, rel=0.01)
    assert (draw(generator) == draw(whole)).all()
    assert generator.receipt()["revision"].startswith("sha256:")
    assert generator.receipt()["revision"] != whole.receipt()["revision"]

    weights = load_file(file)
    lacking = "model.diffusion_model.middle_block.1.proj_in.weight"
    save_file({name: weight for name, weight in weights.items() if name != lacking}, file)
    with pytest.raises(ModelUnavailable, match=r"sd.*\.safetensors lacks weights of the model that its config"):
        draw(a_diffusers_generator(file, config=str(config)))


def test_a_file_with_a_denoiser_only_takes_the_other_parts_from_its_config(tmp_path: Path) -> None:
    pipe = a_tiny_flux()
    folder = save_pipeline(pipe, tmp_path / "flux")
    expected = draw(a_diffusers_generator(folder))
    file = tmp_path / "denoiser.safetensors"
    save_file(pipe.transformer.state_dict(), file)
    with torch.no_grad():
        pipe.transformer.proj_out.weight.zero_()
    pipe.transformer.save_pretrained(folder / "transformer")

    assert (draw(a_diffusers_generator(file, config=str(folder))) == expected).all()
    assert (draw(a_diffusers_generator(folder)) != expected).any()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"source": "model.ckpt"}, r"source: model\.ckpt may be a pickle \(\.ckpt\), which can run code"),
        ({"source": "model.safetensors"}, r"config is missing: model\.safetensors is one file"),
        ({"source": "folder", "config": "folder"}, "config is only for a source that is one"),
    ],
)
def test_what_is_no_checkpoint_is_refused_when_the_catalogue_is_read(fields: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        a_model(**fields)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    for config, says in ((str(tmp_path), "there is no file .*model.safetensors"), ("absent", "is no safetensors file")):
        with pytest.raises(ModelUnavailable, match=says):
            a_diffusers_generator(file, config=config).memory()
        file.write_bytes(b"PK\x03\x04" + bytes(100))
    save_file({"weight": torch.zeros(1)}, file)
    for config, says in (
        (str(tmp_path / "absent"), "there is no folder .*absent, its config"),
        ("nobody/nothing", "nobody/nothing is neither a folder nor in the cache .* hf download nobody/nothing"),
        (str(tmp_path), "is not a diffusers folder"),
    ):
        with pytest.raises(ModelUnavailable, match=says):
            a_diffusers_generator(file, config=config).load()
