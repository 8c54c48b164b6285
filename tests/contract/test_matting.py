"""A transparent background: a network of the catalogue gives the alpha, and changes no colour and no other image."""

import io
import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from api.model_parameters import parameters_of
from core.catalog import Catalog
from core.errors import InvalidParameter
from core.generation_errors import DeviceFailed, ModelUnavailable, OutOfMemory
from core.requests.adaptation import adapt
from core.requests.job import JobRequest, validate
from core.requests.openai import GenerateRequest, job_request
from core.requests.plan import plan
from core.settings import Settings
from tests.contract.kinds import RecordingReporter, a_diffusers_generator, a_model, a_request
from tests.contract.pipelines import a_tiny_stable_diffusion, save_pipeline, warnings_of_diffusers
from tests.image_requests import with_changes
from worker.generation.encode import encode
from worker.generators.device_errors import raise_device_error

pytestmark = warnings_of_diffusers


def a_matting(folder: Path, labels: tuple[str, ...] = ("background", "person")) -> str:
    """A tiny SegFormer with random weights."""
    torch.manual_seed(3)
    network = SegformerForSemanticSegmentation(
        SegformerConfig(
            depths=[1, 1, 1, 1],
            hidden_sizes=[8, 8, 8, 8],
            num_attention_heads=[1, 1, 1, 1],
            decoder_hidden_size=8,
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
        )
    )
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.7)
    network.save_pretrained(folder)
    processor = {"image_processor_type": "SegformerImageProcessor", "size": {"height": 64, "width": 64}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return str(folder).lstrip("/")


def a_cutting_generator(folder: Path, labels: tuple[str, ...] = ("background", "person"), **changes: Any) -> Any:
    source = a_matting(folder / "matting", labels)
    generator = a_diffusers_generator(
        save_pipeline(a_tiny_stable_diffusion(), folder / "model"),
        operations=["generation", "edit"],
        matting={"source": source, **changes},
        hires={"max_scale": 2},
    )
    generator._settings = generator._settings.model_copy(update={"models_dir": Path("/")})
    return generator


def alpha_of(image: Image.Image) -> Any:
    return numpy.asarray(image.getchannel("A"), int)


def test_a_transparent_background_is_the_alpha_of_the_same_image(tmp_path: Path) -> None:
    generator = a_cutting_generator(tmp_path)
    plain = a_request("text-to-image")
    request = with_changes(plain, background="transparent")
    (opaque,) = generator.generate([plain], RecordingReporter())
    assert (opaque.mode, generator.receipt().keys() & {"background", "matting"}) == ("RGB", set())
    (image,) = generator.generate([request], RecordingReporter())
    assert image.mode == "RGBA"
    assert image.convert("RGB").tobytes() == opaque.tobytes()
    assert len(set(alpha_of(image).flatten().tolist())) > 10
    assert generator.receipt()["background"] == "transparent"
    assert generator.receipt()["matting"].startswith("sha256:")
    other = with_changes(request, seed=9, prompt="a house")
    together = generator.generate([request, other], RecordingReporter())
    for each, single in zip(together, (image, generator.generate([other], RecordingReporter())[0]), strict=True):
        assert abs(alpha_of(each) - alpha_of(single)).max() <= 2
    (neutral,) = generator.generate([with_changes(plain, background="opaque")], RecordingReporter())
    assert neutral.tobytes() == opaque.tobytes()
    for output_format in ("png", "webp"):
        stored_image = Image.open(io.BytesIO(encode(image, output_format, None, None)))
        assert stored_image.mode == "RGBA"
        assert numpy.array_equal(alpha_of(stored_image), alpha_of(image))
    assert sum(part.numel() for part in generator._foreground.networks[0].parameters()) > 0


def test_a_full_device_is_told_from_a_broken_background(tmp_path: Path) -> None:
    generator = a_cutting_generator(tmp_path)
    request = with_changes(a_request("text-to-image"), background="transparent")
    generator.load()
    network = generator._foreground.networks[0]
    for error, failure in (
        (torch.OutOfMemoryError("full"), OutOfMemory),
        (RuntimeError("CUDA error: x"), DeviceFailed),
    ):

        def fail(*_: Any, error: Exception = error) -> None:
            raise error

        handle = network.register_forward_pre_hook(fail)
        with pytest.raises(failure):
            generator.generate([request], RecordingReporter())
        handle.remove()
    assert generator.generate([request], RecordingReporter())[0].mode == "RGBA"


@pytest.mark.slow
def test_a_network_with_one_label_gives_the_foreground(tmp_path: Path) -> None:
    generator = a_cutting_generator(tmp_path, ("foreground",))
    (image,) = generator.generate(
        [with_changes(a_request("image-to-image"), background="transparent")], RecordingReporter()
    )
    assert len(set(alpha_of(image).flatten().tolist())) > 10


@pytest.mark.slow
def test_a_matting_that_cannot_be_used_is_named_when_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="it has no label 'background', only sky, person; set matting"):
        a_cutting_generator(tmp_path / "labels", ("sky", "person")).load()
    generator = a_cutting_generator(tmp_path / "files")
    (tmp_path / "files" / "matting" / "preprocessor_config.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"there is no .*preprocessor_config\.json"):
        generator.load()
    other = a_cutting_generator(tmp_path / "kind")
    (tmp_path / "kind" / "matting" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelUnavailable, match="its matting cannot be used"):
        other.load()


def test_requests_ask_for_a_background_that_the_model_can_make() -> None:
    cutting = a_model(id="cutting", matting={"source": "segformer"})
    catalog = Catalog(default="cutting", models=(cutting, a_model(id="plain")))

    def job(**fields: Any) -> Any:
        return plan(validate(JobRequest, {"prompt": "a cat", **fields}), catalog, Settings(), "proj")

    keys = {background: job(background=background).microbatch_key for background in ("opaque", "auto", "transparent")}
    assert keys["opaque"] == keys["auto"] == job().microbatch_key != keys["transparent"]
    assert "background" in parameters_of(cutting)
    assert "background" not in parameters_of(a_model(id="plain"))
    assert job(model="plain", background="opaque").parameters.background == "opaque"
    for fields, message in (
        ({"background": "transparent", "model": "plain"}, "plain does not support background"),
        ({"background": "transparent", "output_format": "jpeg"}, "for output_format png or webp"),
    ):
        with pytest.raises(InvalidParameter, match=message) as error:
            job(**fields)
        assert error.value.param == "background"
    calls = {}
    for model in ("cutting", "plain"):
        call = validate(GenerateRequest, {"prompt": "a cat", "model": model, "background": "transparent"})
        calls[model] = adapt(job_request(call, "generation"), catalog, Settings())
    assert [call.background for call in calls.values()] == ["transparent", None]
    assert [warning["param"] for warning in calls["plain"].warnings] == ["background"]
    assert calls["cutting"].warnings == ()
    with pytest.raises(ValueError, match="matting is not available for fake"):
        a_model(generator="fake", matting={"source": "a"})
    with pytest.raises(ValueError, match="must be a folder in models_dir"):
        a_model(matting={"source": "/a"})


def test_a_network_that_the_device_cannot_take_is_not_the_networks_fault() -> None:
    for error, failure in (
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceFailed),
    ):
        with pytest.raises(failure, match="The matting of model m "):
            raise_device_error(error, "The matting of model m")
    raise_device_error(ValueError("no such layer"), "The matting of model m")
