"""A refiner draws the last steps of an image, with the latents of the first, and reaches no other job."""

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from api.model_parameters import parameters_of
from core.catalog import Catalog
from core.errors import InvalidParameter
from core.generation_errors import GenerationError, ModelUnavailable
from core.parameters.job import ResolvedParameters
from core.parameters.loras import Lora
from core.parameters.refiner import Refiner
from core.requests.job import JobRequest, validate
from core.requests.plan import plan
from core.settings import Settings
from tests.contract.kinds import RecordingReporter, a_diffusers_generator, a_model, a_request
from tests.contract.pipelines import a_tiny_sdxl, a_tiny_stable_diffusion, save_pipeline, warnings_of_diffusers
from tests.image_requests import with_changes

pytestmark = warnings_of_diffusers


def a_refiner(pipe: Any, folder: Path, seed: int) -> str:
    """A refiner of a tiny XL: it has a denoiser of its own, and numbers for the beauty of an image."""
    torch.manual_seed(seed)
    config = dict(pipe.unet.config) | {
        "cross_attention_dim": pipe.text_encoder_2.config.hidden_size,
        "projection_class_embeddings_input_dim": 5 * 8 + 16,
    }
    StableDiffusionXLImg2ImgPipeline(
        vae=pipe.vae,
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=pipe.text_encoder_2,
        tokenizer_2=pipe.tokenizer_2,
        unet=UNet2DConditionModel.from_config(config),
        scheduler=pipe.scheduler,
        requires_aesthetics_score=True,
        add_watermarker=False,
    ).save_pretrained(folder)
    return str(folder).lstrip("/")


def a_lora_of_xl(pipe: Any, folder: Path) -> str:
    """A LoRA of the first denoiser's attention."""
    unet = UNet2DConditionModel.from_config(pipe.unet.config)
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    torch.manual_seed(4)
    state = {name: torch.randn_like(weight) for name, weight in get_peft_model_state_dict(unet).items()}
    StableDiffusionXLPipeline.save_lora_weights(folder, state, weight_name="pixel.safetensors")
    return str(folder / "pixel.safetensors").lstrip("/")


def a_refining_generator(folder: Path, make: Any = a_tiny_sdxl) -> Any:
    pipe = make()
    sources = [a_refiner(a_tiny_sdxl(), folder / name, seed) for seed, name in enumerate(("first", "second"))]
    refiners = [{"name": Path(source).name, "source": source} for source in sources]
    loras = [] if make is not a_tiny_sdxl else [{"name": "pixel", "file": a_lora_of_xl(pipe, folder)}]
    generator = a_diffusers_generator(save_pipeline(pipe, folder / "model"), refiners=refiners, loras=loras)
    generator._settings = generator._settings.model_copy(update={"models_dir": Path("/")})
    return generator


def test_a_refiner_draws_the_last_steps(tmp_path: Path) -> None:
    generator = a_refining_generator(tmp_path)
    plain = a_request("text-to-image", steps=5)
    results: dict[str, bytes] = {}
    for name, refiner in (
        ("none", None),
        ("first at 0.8", Refiner(model="first", switch_at=0.8)),
        ("first at 0.4", Refiner(model="first", switch_at=0.4)),
        ("second at 0.8", Refiner(model="second", switch_at=0.8)),
    ):
        reporter = RecordingReporter()
        (image,) = generator.generate([with_changes(plain, refiner=refiner)], reporter)
        assert reporter.steps == [(step, 5) for step in range(6)], name
        assert numpy.asarray(image).std() > 1
        results[name] = image.tobytes()
        receipt = [key for key in generator.receipt() if key.startswith("refiner ")]
        assert receipt == ([] if refiner is None else [f"refiner {refiner.model}"])
    assert len(set(results.values())) == len(results)
    assert generator.generate([plain], RecordingReporter())[0].tobytes() == results["none"]
    requests = [with_changes(plain, refiner=Refiner(model="first", switch_at=0.8))]
    requests.append(with_changes(requests[0], seed=9, prompt="a house"))
    assert len({generator.sharing_key(request) for request in requests}) == 1
    alone = [generator.generate([request], RecordingReporter())[0] for request in requests]
    for result, single in zip(generator.generate(requests, RecordingReporter()), alone, strict=True):
        assert abs(numpy.asarray(result, int) - numpy.asarray(single, int)).max() <= 2
    lora = Lora(name="pixel", weight=1.0)
    (changed,) = generator.generate([with_changes(requests[0], loras=[lora])], RecordingReporter())
    assert changed.tobytes() != alone[0].tobytes()
    assert generator.receipt().keys() >= {"lora pixel", "refiner first"}
    assert generator.generate(requests[:1], RecordingReporter())[0].tobytes() == alone[0].tobytes()
    assert "lora pixel" not in generator.receipt()
    base = sum(part.numel() * 4 for part in generator._pipe.unet.parameters())
    assert generator.memory().weights > 2 * base
    with pytest.raises(GenerationError, match="no such refiner any more"):
        generator.generate([with_changes(plain, refiner=Refiner(model="third", switch_at=0.8))], RecordingReporter())


@pytest.mark.slow
def test_a_refiner_that_does_not_fit_is_named_when_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="takes no refiner; remove its `refiners`"):
        a_refining_generator(tmp_path / "other", a_tiny_stable_diffusion).load()
    generator = a_refining_generator(tmp_path)
    index = tmp_path / "first" / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLPipeline"))
    with pytest.raises(ModelUnavailable, match="the refiner 'first' cannot be used: it is a StableDiffusionXLPipeline"):
        generator.load()
    index.unlink()
    with pytest.raises(ModelUnavailable, match=r"there is no .*model_index\.json"):
        generator.load()


def test_requests_name_the_refiners_of_the_catalogue() -> None:
    refiners = [{"name": "first", "source": "a"}, {"name": "second", "source": "b", "switch_at": 0.5}]
    refined = a_model(id="refined", operations=["generation", "edit"], refiners=refiners, hires={})
    catalog = Catalog(default="refined", models=(refined, a_model(id="plain")))

    def job(**fields: Any) -> Any:
        return plan(validate(JobRequest, {"prompt": "a cat", "steps": 20, **fields}), catalog, Settings(), "proj")

    first, second, own = (
        job(refiner=refiner) for refiner in ({}, {"model": "second"}, {"model": "second", "switch_at": 0.7})
    )
    assert first.parameters.refiner == Refiner(model="first", switch_at=0.8)
    assert second.parameters.refiner == Refiner(model="second", switch_at=0.5)
    assert ResolvedParameters.load(own.parameters.dump()).refiner == Refiner(model="second", switch_at=0.7)
    assert len({each.microbatch_key for each in (first, second, own, job())}) == 4
    assert parameters_of(refined)["refiner"]["properties"]["model"]["enum"] == ["first", "second"]
    assert "refiner" not in parameters_of(a_model(id="plain"))
    for fields, param, message in (
        ({"refiner": {"model": "third"}}, "refiner.model", "choose from first, second"),
        ({"refiner": {"switch_at": 1}}, "refiner.switch_at", "less than 1"),
        ({"refiner": {}, "steps": 1}, "refiner.switch_at", "leaves none of 1 steps"),
        ({"refiner": {}, "hires": {}}, "refiner", "must not both be set"),
        ({"refiner": {}, "model": "plain"}, "refiner", "plain does not support refiner"),
        ({"refiner": {}, "operation": "edit", "image": {"file_id": "file-1"}}, "refiner", "for operation generation"),
    ):
        with pytest.raises(InvalidParameter, match=message) as error:
            job(**fields)
        assert error.value.param == param


@pytest.mark.parametrize("change", [{"source": "/a"}, {"source": "../a"}, {"switch_at": 1.0}, {"name": "a b"}])
def test_the_catalogue_takes_no_other_refiners(change: dict[str, Any]) -> None:
    entry = {"name": "first", "source": "a"}
    with pytest.raises(ValueError, match="refiners"):
        a_model(refiners=[{**entry, **change}])
    with pytest.raises(ValueError, match="duplicate names: first"):
        a_model(refiners=[entry, entry])
    with pytest.raises(ValueError, match="refiners are not available for fake"):
        a_model(generator="fake", refiners=[entry])
