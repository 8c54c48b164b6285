"""Models that share text encoders, and models that stay in RAM when they leave the device."""

import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from core.generation_errors import ModelUnavailable
from core.settings import Settings
from worker.generation.models import Models
from worker.generators import build

from .kinds import RecordingReporter, a_model, a_request
from .networks import a_lora
from .pipelines import a_tiny_flux, save_pipeline, warnings_of_diffusers

pytestmark = [warnings_of_diffusers, pytest.mark.filterwarnings("ignore::FutureWarning:diffusers")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FLUX in `dev`; another denoiser with the same text encoders in `fill`, and with another one in `other`."""
    models = tmp_path_factory.mktemp("models")
    pipe: Any = a_tiny_flux()
    with torch.no_grad():  # other models of this process may have the text encoders of an unchanged one
        for encoder in (pipe.text_encoder, pipe.text_encoder_2):
            next(encoder.parameters()).mul_(1.25)
    save_pipeline(pipe, models / "dev")
    with torch.no_grad():
        pipe.transformer.proj_out.weight += 0.5
    save_pipeline(pipe, models / "fill")
    config = models / "fill/text_encoder_2/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_name_or_path": "elsewhere"}))
    with torch.no_grad():
        pipe.text_encoder_2.shared.weight += 0.5
    save_pipeline(pipe, models / "other")
    a_lora(models / "pixel.safetensors", 0)
    return models


def a_generator(folder: Path, name: str, **fields: Any) -> Any:
    model = a_model(id=name, source=name, **fields)
    return build(model, Settings(device="cpu", torch_threads=1, models_dir=folder))


def draw(generator: Any) -> Any:
    return numpy.asarray(generator.generate([a_request("text-to-image")], RecordingReporter())[0], dtype=int)


def test_models_with_the_same_text_encoders_have_them_in_memory_once(folder: Path) -> None:
    fill = a_generator(folder, "fill")
    alone = draw(fill)
    fill.unload()
    dev, other = a_generator(folder, "dev"), a_generator(folder, "other")
    for generator in (dev, fill, other):
        generator.load()

    assert dev._pipe.text_encoder_2 is fill._pipe.text_encoder_2
    assert dev._pipe.text_encoder is other._pipe.text_encoder
    assert dev._pipe.text_encoder_2 is not other._pipe.text_encoder_2
    assert (draw(fill) == alone).all()

    encoder = weakref.ref(dev._pipe.text_encoder_2)
    dev.unload()
    assert encoder() is not None
    assert (draw(fill) == alone).all()
    fill.unload()
    assert encoder() is None


def test_a_text_encoder_leaves_the_device_with_the_last_model_there(folder: Path) -> None:
    dev, fill = a_generator(folder, "dev"), a_generator(folder, "fill")
    for generator in (dev, fill):
        generator.load()
    places: list[Any] = []
    encoder = dev._pipe.text_encoder_2
    encoder.to = places.append  # a CPU is device and RAM in one
    del encoder

    fill.move_to_ram()
    assert not places
    dev.unload()
    assert places == [torch.device("cpu")]
    fill.unload()


def test_a_text_encoder_that_an_option_changes_is_not_shared(folder: Path) -> None:
    plain = a_generator(folder, "dev")
    plain.load()
    adapted = a_generator(folder, "fill", loras=[{"name": "pixel", "file": "pixel.safetensors"}])
    adapted.load()
    narrow = a_generator(folder, "fill", options={"dtype": "bfloat16"})
    narrow.load()

    assert plain._pipe.text_encoder is not adapted._pipe.text_encoder  # FLUX's LoRAs may change it
    assert plain._pipe.text_encoder_2 is adapted._pipe.text_encoder_2
    assert plain._pipe.text_encoder_2 is not narrow._pipe.text_encoder_2


def test_what_models_share_counts_once_and_what_leaves_may_stay_in_ram(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    entries = {name: a_model(id=name, source=name) for name in ("dev", "fill", "other")}
    generator = a_generator(tmp_path, "dev")
    estimate = generator.memory()
    generator.load()
    size = generator.memory()
    assert size.weights == pytest.approx(estimate.weights, rel=0.05)
    del generator
    shared = sum(size.shared.values())
    assert 0 < shared < size.weights
    budget = 2 * size.weights - shared
    settings = Settings(
        device="cpu", torch_threads=1, models_dir=tmp_path, model_memory=budget, model_ram=2 * size.weights
    )
    models = Models(settings)

    drawn = {name: draw(models.get(entries[name])) for name in ("dev", "fill")}
    assert models.resident == ["dev", "fill"]
    report = models.device()
    assert report.device_bytes is not None
    assert report.device_bytes <= budget < sum(state["bytes"] for state in report.models.values())

    models.get(entries["other"])
    assert "dev" not in models.resident
    shutil.rmtree(tmp_path / "dev" / "transformer")
    assert (draw(models.get(entries["dev"])) == drawn["dev"]).all()  # from RAM: its files are gone
    assert (draw(models.get(entries["fill"])) == drawn["fill"]).all()

    models.unload_all()
    assert (models.resident, models.device().device_bytes) == ([], 0)
    with pytest.raises(ModelUnavailable, match="could not be loaded"):
        models.get(entries["dev"])
