"""diffusers pipelines behind the protocol: values they would drop, errors they raise, and memory they free."""

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, StableDiffusionPipeline, UNet2DModel

from core.generation import ImageRequest, Stopped
from core.generation_errors import DeviceFailed, GenerationError, GeneratorFailed, ModelUnavailable, OutOfMemory
from tests.image_requests import image_request, with_changes

from .kinds import RecordingReporter, a_diffusers_generator
from .pipelines import SIDE_PX, save_pipeline, warnings_of_diffusers

pytestmark = warnings_of_diffusers


def a_tiny_request(**changes: Any) -> ImageRequest:
    return with_changes(image_request("a cat", side=SIDE_PX, seed=1, steps=4, guidance_scale=5.0), **changes)


class Distilled(StableDiffusionPipeline):  # type: ignore[misc]  # diffusers is untyped
    """A pipeline that takes as little as some do: its steps, guidance and size are fixed."""

    def __call__(self, prompt: list[str], generator: list[torch.Generator], output_type: str) -> Any:
        return super().__call__(prompt, num_inference_steps=2, generator=generator, output_type=output_type)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"negative_prompt": "blurred"}, "takes no negative_prompt"),
        ({"steps": 21}, "takes no steps other than 20"),
        ({"guidance_scale": 6.0}, r"takes no guidance_scale other than 5\.0"),
        ({"size": "64x64"}, "generates 32x32, not 64x64"),
    ],
)
def test_a_value_that_the_pipeline_would_drop_is_an_error(tiny: Path, changes: dict[str, Any], says: str) -> None:
    generator = a_diffusers_generator(tiny)
    generator.load()
    generator._pipe.__class__ = Distilled
    request = a_tiny_request(steps=20)
    with pytest.raises(GenerationError, match=says) as caught:
        generator.generate([with_changes(request, **changes)], RecordingReporter())
    assert not caught.value.retryable
    assert len(generator.generate([request], RecordingReporter())) == 1


def test_a_pipeline_that_draws_without_a_prompt_is_refused(tmp_path: Path) -> None:
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8,),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
    )
    folder = save_pipeline(DDPMPipeline(unet, DDPMScheduler()), tmp_path / "unconditional")
    with pytest.raises(ModelUnavailable, match="takes no prompt"):
        a_diffusers_generator(folder).load()


@pytest.mark.parametrize(
    ("says", "makes"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), OutOfMemory),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (RuntimeError("CUDA error: out of memory"), OutOfMemory),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceFailed),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), DeviceFailed),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), DeviceFailed),
        (RuntimeError("CUDA error: invalid configuration argument"), GeneratorFailed),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), GeneratorFailed),
        (ValueError("`height` has to be divisible by 8"), GenerationError),
    ],
)
def test_an_error_of_the_pipeline_gets_its_meaning_and_frees_its_tensors(
    tiny: Path, says: Exception, makes: type[GenerationError]
) -> None:
    generator = a_diffusers_generator(tiny)
    generator.load()
    latents: list[weakref.ref[torch.Tensor]] = []

    def fail(module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        latents.append(weakref.ref(arguments[0]))
        raise type(says)(*says.args)

    hook = generator._pipe.unet.conv_in.register_forward_pre_hook(fail)
    with pytest.raises(GenerationError) as caught:
        generator.generate([a_tiny_request()], RecordingReporter())
    hook.remove()
    assert type(caught.value) is makes
    assert latents[0]() is None
    assert len(generator.generate([a_tiny_request()], RecordingReporter())) == 1


def test_a_stopped_call_frees_its_tensors(tiny: Path) -> None:
    generator = a_diffusers_generator(tiny)
    generator.load()
    latents: list[weakref.ref[torch.Tensor]] = []

    def remember(module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        latents.append(weakref.ref(arguments[0]))

    generator._pipe.unet.register_forward_pre_hook(remember)
    with pytest.raises(Stopped) as caught:
        generator.generate([a_tiny_request()], RecordingReporter(stop_at=2))
    assert (len(latents), latents[2](), caught.type) == (3, None, Stopped)


def test_an_image_too_large_for_the_memory_of_the_machine_is_out_of_memory(tiny: Path) -> None:
    with pytest.raises(OutOfMemory, match=r"2 image\(s\) of 2147483648x2097152 do not fit"):
        a_diffusers_generator(tiny).generate([a_tiny_request(size=f"{2**31}x{2**21}")] * 2, RecordingReporter())


def test_a_size_the_pipeline_refuses_is_not_tried_again(tiny: Path) -> None:
    generator = a_diffusers_generator(tiny)
    for width, words in ((33, "both sides must be multiples of 2"), (34, "divisible by 8")):
        with pytest.raises(GenerationError, match=words) as caught:
            generator.generate([a_tiny_request(size=f"{width}x{SIDE_PX}")], RecordingReporter())
        assert not caught.value.retryable


def test_unloading_frees_the_weights_and_loading_brings_the_same_images(tiny: Path) -> None:
    generator = a_diffusers_generator(tiny)
    estimate = generator.memory()
    (before,) = generator.generate([a_tiny_request()], RecordingReporter())
    loaded = generator.memory()
    unet = weakref.ref(generator._pipe.unet)

    generator.unload()

    assert unet() is None
    assert abs(estimate.weights - loaded.weights) < loaded.weights / 100  # buffers that no file has
    assert loaded.weights > 10_000
    (after,) = generator.generate([a_tiny_request()], RecordingReporter())
    assert after.tobytes() == before.tobytes()
