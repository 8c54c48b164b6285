"""The loading options of the catalogue: each changes or keeps the pixels as it should, or says why it cannot."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from pydantic import ValidationError
from safetensors.torch import save_file

from core.generation import Stopped
from core.generation_errors import GeneratorFailed, ModelUnavailable
from core.parameters.loras import Lora
from core.settings import Settings
from worker.generators import build

from .kinds import RecordingReporter, a_model, a_request
from .networks import a_lora
from .pipelines import a_tiny_flux, a_tiny_stable_diffusion, save_pipeline, warnings_of_diffusers

pytestmark = [
    warnings_of_diffusers,
    pytest.mark.filterwarnings("ignore::FutureWarning:diffusers"),
]


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FLUX with several blocks, so that a cache has something to skip."""
    pipe: Any = a_tiny_flux()
    torch.manual_seed(0)
    config = dict(pipe.transformer.config) | {"num_layers": 2, "num_single_layers": 2}
    pipe.register_modules(transformer=FluxTransformer2DModel.from_config(config))
    return save_pipeline(pipe, tmp_path_factory.mktemp("models") / "flux")


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion, and in its folder a LoRA, a word, and another autoencoder."""
    folder = save_pipeline(a_tiny_stable_diffusion(), tmp_path_factory.mktemp("models") / "sd")
    a_lora(folder / "pixel.safetensors", 0)
    torch.manual_seed(1)
    save_file({"<cat>": torch.randn(2, 16)}, folder / "cat.safetensors")
    pipe: Any = a_tiny_stable_diffusion()
    AutoencoderKL.from_config(pipe.vae.config).save_pretrained(folder / "vae-2")
    save_file({"unet.x.lora_A.weight": torch.ones(2, 16)}, folder / "misfit.safetensors")
    return folder


def a_generator(folder: Path, **fields: Any) -> Any:
    model = a_model(source=str(folder), **fields)
    return build(model, Settings(device="cpu", torch_threads=1, models_dir=folder))


def draw(generator: Any, prompt: str = "a red car", steps: int = 6, **changes: Any) -> Any:
    request = a_request("text-to-image", prompt=prompt, steps=steps, **changes)
    return numpy.asarray(generator.generate([request], RecordingReporter())[0], dtype=int)


def test_a_cache_skips_steps_by_its_threshold_and_a_stopped_call_leaves_nothing(flux: Path) -> None:
    plain = draw(a_generator(flux))
    strict = a_generator(flux, cache={"kind": "first_block", "threshold": 1e-9})
    loose = a_generator(flux, cache={"kind": "first_block", "threshold": 2.0})
    taylor = a_generator(flux, cache={"kind": "taylorseer", "interval": 3})
    changed = draw(loose)

    assert (draw(strict) == plain).all()
    assert (changed != plain).any()
    assert (draw(taylor) != plain).any()
    assert loose.receipt()["cache"] == "first_block 2"
    assert taylor.receipt()["cache"] == "taylorseer 3"
    request = a_request("text-to-image", steps=6)
    assert loose.sharing_key(request) is None  # its decisions are about the whole batch
    assert taylor.sharing_key(request) is not None
    with pytest.raises(Stopped):
        loose.generate([a_request("text-to-image", prompt="x", steps=6)], RecordingReporter(stop_at=3))
    assert (draw(loose) == changed).all()


def test_the_cache_mag_skips_steps_by_the_ratios_of_the_model_and_the_steps_of_the_call(flux: Path) -> None:
    plain = a_generator(flux)
    cached = a_generator(flux, cache={"kind": "mag", "threshold": 2.0})
    strict = a_generator(flux, cache={"kind": "mag", "threshold": 1e-9, "ratios": [1.0, 0.5, 0.5, 0.5]})

    assert (draw(cached, steps=8) != draw(plain, steps=8)).any()
    assert (draw(cached, steps=4) != draw(plain, steps=4)).any()
    assert cached._pipe.transformer._cache_config.num_inference_steps == 4
    assert (draw(strict) == draw(plain)).all()
    assert cached.receipt()["cache"] == "mag 2"
    assert cached.sharing_key(a_request("text-to-image")) is not None


def test_a_pipeline_that_has_no_use_for_a_cache_draws_without(flux: Path) -> None:
    operations = ["generation", "edit"]
    plain = a_generator(flux, operations=operations)
    cached = a_generator(flux, operations=operations, cache={"kind": "first_block", "threshold": 2.0})
    edit = a_request("image-to-image", steps=6)

    def pixels(generator: Any) -> Any:
        return numpy.asarray(generator.generate([edit], RecordingReporter())[0], dtype=int)

    before = draw(cached)
    assert (pixels(cached) == pixels(plain)).all()
    assert "cache" not in cached.receipt()
    assert (draw(cached) == before).all()
    assert cached.receipt()["cache"] == "first_block 2"
    assert cached.sharing_key(edit) is not None


@pytest.mark.parametrize(("kind", "operations"), [("first_block", ["edit"]), ("sea", ["generation"])])
def test_a_cache_that_no_pipeline_uses_is_refused_at_load(flux: Path, kind: str, operations: list[str]) -> None:
    with pytest.raises(ModelUnavailable, match=f"cannot use a cache of kind {kind}; remove its `cache`"):
        a_generator(flux, operations=operations, cache={"kind": kind}).load()


def test_options_that_save_memory_keep_the_image_or_are_in_the_receipt(flux: Path) -> None:
    whole = a_generator(flux)
    plain, size = draw(whole), whole.memory().weights
    for fields in ({"offload": "model"}, {"offload": "group"}, {"vae": {"tiling": True, "slicing": True}}):
        assert (draw(a_generator(flux, **fields)) == plain).all(), fields
    mathematical = a_generator(flux, attention="_native_math")
    assert abs(draw(mathematical) - plain).max() <= 2
    assert mathematical.receipt()["attention"] == "_native_math"
    with suppress(GeneratorFailed):  # no CPU has it
        draw(a_generator(flux, attention="_native_cudnn"))
    assert (draw(whole) == plain).all(), "the attention of one model must not become another's"

    casting = a_generator(flux, layerwise_casting=True)
    assert (draw(casting) != plain).any()
    assert casting.memory().weights < size
    assert casting.receipt()["layerwise_casting"] == "float8_e4m3fn"


def test_parts_of_a_model_are_replaced_and_added(sd: Path) -> None:
    plain = a_generator(sd, loras=[{"name": "pixel", "file": "pixel.safetensors"}])
    without = draw(plain)
    vae = a_generator(sd, vae={"source": "vae-2"})
    fused = a_generator(sd, fused_loras=[{"file": "pixel.safetensors", "weight": 0.5}])
    word = a_generator(sd, textual_inversions=[{"token": "<cat>", "file": "cat.safetensors"}])

    assert (draw(vae) != without).any()
    assert vae.receipt()["vae"].startswith("sha256:")
    assert abs(draw(fused) - draw(plain, loras=[Lora(name="pixel", weight=0.5)])).max() <= 2
    assert (draw(fused) != without).any()
    assert fused.receipt()["fused lora pixel.safetensors"].startswith("0.5 sha256:")
    assert (draw(word, "a <cat>") != draw(plain, "a <cat>")).any()
    assert (draw(word) == without).all()
    assert word.receipt()["textual inversion <cat>"].startswith("sha256:")


def test_the_part_of_a_fused_lora_for_the_text_encoder_acts_too(flux: Path, tmp_path: Path) -> None:
    encoder: Any = a_tiny_flux().text_encoder
    encoder.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    state = get_peft_model_state_dict(encoder)
    FluxPipeline.save_lora_weights(flux, text_encoder_lora_layers=state, weight_name="words.safetensors")

    fused = a_generator(flux, fused_loras=[{"file": "words.safetensors", "weight": 2.0}])

    assert (draw(fused) != draw(a_generator(flux))).any()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"cache": {"kind": "first_block"}}, "UNet2DConditionModel has no cache; remove its `cache`"),
        ({"attention": "_native_math"}, "UNet2DConditionModel has only one attention"),
        ({"vae": {"source": "absent"}}, "vae.source: there is no"),
        ({"textual_inversions": [{"token": "x", "file": "absent.safetensors"}]}, "textual_inversions: there is no"),
        ({"fused_loras": [{"file": "absent.safetensors"}]}, "fused_loras: there is no"),
        ({"fused_loras": [{"file": "misfit.safetensors"}]}, "misfit.safetensors does not fit"),
        ({"quantization": {"unet": "bitsandbytes_4bit"}}, "needs the module bitsandbytes"),
    ],
)
def test_an_option_that_a_model_cannot_have_is_refused_at_load(sd: Path, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelUnavailable, match=says):
        a_generator(sd, **fields).load()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"quantization": {"unet": "int8"}}, "quantization.unet"),
        ({"quantization": {"scheduler": "torchao_int8"}}, "quantization.scheduler"),
        ({"quantization": {"unet": "torchao_int8"}, "layerwise_casting": True}, "together with layerwise_casting"),
        ({"quantization": {"unet": "torchao_int8"}, "offload": "sequential"}, "use model or group"),
        ({"offload": "disk"}, "offload"),
        ({"attention": "flash_hub"}, "attention"),
        ({"compile": "yes"}, "compile"),
        ({"cache": {"kind": "taylorseer", "threshold": 0.1}}, "taylorseer has an interval, no threshold"),
        ({"cache": {"kind": "sea", "interval": 3}}, "sea has a threshold, no interval"),
        ({"cache": {"kind": "sea", "ratios": [1.0]}}, "sea has no ratios, only mag"),
        ({"vae": {"source": "vae.pt"}}, "may be a pickle"),
        ({"fused_loras": [{"file": "lora.bin"}]}, "must be a .safetensors file"),
        ({"textual_inversions": [{"token": "a b", "file": "x.safetensors"}]}, "token"),
        ({"generator": "fake", "offload": "model"}, "offload is not available for fake"),
    ],
)
def test_a_wrong_value_is_refused_when_the_catalogue_is_read(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as error:
        a_model(**fields)
    assert says in str(error.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own compiler uses it
@pytest.mark.parametrize("part", ["regional", "model"])
def test_a_compiled_model_draws_the_same_image_and_stops(flux: Path, part: str) -> None:
    compiled = a_generator(flux, compile=part)
    reporter = RecordingReporter(stop_at=2)
    with pytest.raises(Stopped):
        compiled.generate([a_request("text-to-image", steps=6)], reporter)
    assert [current for current, _ in reporter.steps] == [0, 1, 2]
    assert abs(draw(compiled) - draw(a_generator(flux))).max() <= 2
    assert compiled.receipt()["compile"] == part
