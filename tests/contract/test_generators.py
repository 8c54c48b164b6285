"""What every generator promises, run over all of them; the bundled model joins when its weights are there."""

import json
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, StableDiffusionPipeline, UNet2DModel
from PIL import Image

from core.catalog import Model
from core.errors import GenerationError, GeneratorFailed, ModelUnavailable, OutOfMemory
from core.generation import Generator, ImageRequest, Stopped
from core.settings import Settings
from worker.generators import build

from .pipelines import SIDE_PX, a_tiny_stable_diffusion, saved

pytestmark = [
    # diffusers' schedulers hand torch's tensors to numpy.array(); torch's __array__ does not know numpy 2's `copy` yet.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

ROOT = Path(__file__).parents[2]
BUNDLED = Settings().models_dir / "unclip-mini"


@dataclass
class Watching:
    """A watch that writes down what it hears and stops the drawing at the step named, if any."""

    stop_at: int | None = None
    heard: list[tuple[int, int]] = field(default_factory=list)
    called: Event = field(default_factory=Event)

    def step(self, done: int, total: int) -> None:
        self.heard.append((done, total))
        self.called.set()
        if done == self.stop_at:
            raise Stopped

    def preview(self, draw: Callable[[], Sequence[Image.Image]]) -> None:
        """Nobody looks."""


@dataclass(frozen=True)
class Candidate:
    """A generator under test, with what it can draw and how near to equal its pictures must be."""

    generator: Generator
    side_px: int
    tolerance: int  # largest difference of a colour value, of 255, that a batch may make


def a_model(**changes: Any) -> Model:
    return Model(**({"id": "under-test", "generator": "diffusers_local", "sizes": ["32x32"]} | changes))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(a_tiny_stable_diffusion(), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module", params=["fake", "tiny stable diffusion", "unclip-mini"])
def candidate(request: pytest.FixtureRequest, tiny: Path) -> Candidate:
    settings = Settings(device="cpu", torch_threads=1)
    if request.param == "fake":
        return Candidate(build(a_model(generator="fake"), settings), side_px=64, tolerance=0)
    if request.param == "unclip-mini":
        if not (BUNDLED / "model_index.json").exists():
            pytest.skip("the bundled model's weights are not in models/unclip-mini")
        return Candidate(build(a_model(source=str(BUNDLED)), settings), side_px=128, tolerance=2)
    return Candidate(build(a_model(source=str(tiny)), settings), side_px=SIDE_PX, tolerance=2)


@pytest.fixture
def ask(candidate: Candidate) -> Callable[..., ImageRequest]:
    def a_request(prompt: str = "a red car", seed: int = 1, **changes: Any) -> ImageRequest:
        side = candidate.side_px
        return replace(ImageRequest(prompt, None, seed, side, side, steps=4, guidance_scale=5.0), **changes)

    return a_request


def pixels(candidate: Candidate, *requests: ImageRequest) -> list[numpy.ndarray[Any, Any]]:
    return [numpy.asarray(image, dtype=int) for image in candidate.generator.generate(requests, Watching())]


def test_as_many_pictures_of_the_asked_size_come_as_were_asked(
    candidate: Candidate, ask: Callable[..., ImageRequest]
) -> None:
    images = candidate.generator.generate([ask(seed=seed) for seed in range(3)], Watching())
    assert [(image.mode, image.size) for image in images] == [("RGB", (candidate.side_px,) * 2)] * 3


def test_nothing_asked_is_nothing_drawn(candidate: Candidate) -> None:
    assert list(candidate.generator.generate([], Watching())) == []


def test_a_seed_gives_the_same_picture_again(candidate: Candidate, ask: Callable[..., ImageRequest]) -> None:
    (first,), (again,) = pixels(candidate, ask()), pixels(candidate, ask())
    assert (first == again).all()


def test_a_seed_gives_the_same_picture_whatever_shares_the_batch(
    candidate: Candidate, ask: Callable[..., ImageRequest]
) -> None:
    wanted = ask("a red car", seed=7)
    (alone,) = pixels(candidate, wanted)
    neighbours = [ask("three blue houses by the sea", seed=8), ask("夜晚的城市", seed=9)]
    first, *_ = pixels(candidate, wanted, *neighbours)
    *_, last = pixels(candidate, *neighbours, wanted)
    assert abs(first - alone).max() <= candidate.tolerance
    assert abs(last - alone).max() <= candidate.tolerance


def test_another_seed_gives_another_picture(candidate: Candidate, ask: Callable[..., ImageRequest]) -> None:
    one, other = pixels(candidate, ask(seed=1), ask(seed=2))
    assert abs(one - other).max() > candidate.tolerance


def test_another_prompt_gives_another_picture(candidate: Candidate, ask: Callable[..., ImageRequest]) -> None:
    one, other = pixels(candidate, ask("a red car"), ask("a blue house"))
    assert abs(one - other).max() > candidate.tolerance


def test_the_watch_hears_each_step_up_to_the_last(candidate: Candidate, ask: Callable[..., ImageRequest]) -> None:
    watch = Watching()
    candidate.generator.generate([ask(), ask(seed=2)], watch)
    assert watch.heard == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_watch_that_stops_leaves_within_the_step_and_the_generator_goes_on(
    candidate: Candidate, ask: Callable[..., ImageRequest]
) -> None:
    (before,) = pixels(candidate, ask())
    watch = Watching(stop_at=2)
    with pytest.raises(Stopped):
        candidate.generator.generate([ask()], watch)
    assert watch.heard == [(0, 4), (1, 4), (2, 4)]
    (after,) = pixels(candidate, ask())
    assert (after == before).all()


def test_loading_twice_is_loading_once(candidate: Candidate) -> None:
    candidate.generator.load()
    candidate.generator.load()


def test_the_receipt_says_what_drew(candidate: Candidate) -> None:
    receipt = candidate.generator.receipt()
    assert {"model", "revision", "device", "dtype"} <= receipt.keys()
    assert receipt["device"] == "cpu"
    assert all(receipt.values())


# --- the fake one


def a_fake_request(prompt: str, seed: int = 0) -> ImageRequest:
    return ImageRequest(prompt, None, seed, 64, 64, steps=4, guidance_scale=5.0)


@pytest.fixture
def fake() -> Generator:
    return build(a_model(generator="fake"), Settings())


@pytest.mark.parametrize(
    ("prompt", "error", "retryable", "heard"),
    [
        ("[fail]", GeneratorFailed, True, [(0, 4)]),
        ("[refuse]", GenerationError, False, [(0, 4)]),
        ("[oom]", OutOfMemory, False, []),
        ("[oom always]", OutOfMemory, False, []),
    ],
)
def test_a_word_in_a_prompt_makes_the_fake_one_fail_the_whole_call(
    fake: Generator, prompt: str, error: type[GenerationError], retryable: bool, heard: Sequence[tuple[int, int]]
) -> None:
    watch = Watching()
    with pytest.raises(GenerationError) as caught:
        fake.generate([a_fake_request("a cat"), a_fake_request(f"{prompt} a dog")], watch)
    assert (type(caught.value), caught.value.retryable, watch.heard) == (error, retryable, heard)


def test_the_fake_one_draws_a_single_picture_that_runs_out_of_memory_in_company(fake: Generator) -> None:
    assert len(fake.generate([a_fake_request("[oom]")], Watching())) == 1
    with pytest.raises(OutOfMemory):
        fake.generate([a_fake_request("[oom always]")], Watching())


def test_the_fake_one_kills_its_process_when_asked_to_crash() -> None:
    program = (
        "from core.catalog import Model; from core.generation import ImageRequest; from core.settings import Settings\n"
        "from worker.generators import build\n"
        "class Watch:\n"
        "    def step(self, done, total): print(done, total, flush=True)\n"
        "    def preview(self, draw): pass\n"
        "generator = build(Model(id='fake', generator='fake'), Settings())\n"
        "generator.generate([ImageRequest('[crash]', None, 0, 64, 64, 4, 5.0)], Watch())"
    )
    died = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, capture_output=True, text=True)
    assert (died.returncode, died.stdout) == (-signal.SIGKILL, "0 4\n1 4\n")


def test_the_fake_one_hangs_when_asked_to(fake: Generator) -> None:
    watch = Watching()
    thread = Thread(target=fake.generate, args=([a_fake_request("[hang]")], watch), daemon=True)
    thread.start()
    assert watch.called.wait(10)
    thread.join(0.1)
    assert thread.is_alive()
    assert watch.heard == [(0, 4), (1, 4)]


# --- diffusers


def a_tiny_request(**changes: Any) -> ImageRequest:
    return replace(ImageRequest("a cat", None, 1, SIDE_PX, SIDE_PX, steps=4, guidance_scale=5.0), **changes)


def a_diffusers_generator(folder: Path, **changes: Any) -> Any:
    return build(a_model(source=str(folder), **changes), Settings(device="cpu", torch_threads=1))


def test_a_negative_prompt_of_one_picture_leaves_the_other_alone(tiny: Path) -> None:
    candidate = Candidate(a_diffusers_generator(tiny), SIDE_PX, 2)
    plain, other = a_tiny_request(), a_tiny_request(seed=2)
    without = pixels(candidate, plain, other)
    negative = pixels(candidate, replace(plain, negative_prompt="blurred"), other)
    assert abs(without[0] - negative[0]).max() > 2
    assert abs(without[1] - negative[1]).max() <= 2


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
        ({"width": 64, "height": 64}, "draws 32x32, not 64x64"),
    ],
)
def test_a_value_that_the_pipeline_would_drop_is_an_error(tiny: Path, changes: dict[str, Any], says: str) -> None:
    generator = a_diffusers_generator(tiny)
    generator.load()
    generator._pipe.__class__ = Distilled
    plain = a_tiny_request(steps=20)
    with pytest.raises(GenerationError, match=says) as caught:
        generator.generate([replace(plain, **changes)], Watching())
    assert not caught.value.retryable
    assert len(generator.generate([plain], Watching())) == 1


def test_a_pipeline_that_draws_without_a_prompt_is_refused(tmp_path: Path) -> None:
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8,),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
    )
    folder = saved(DDPMPipeline(unet, DDPMScheduler()), tmp_path / "unconditional")
    with pytest.raises(ModelUnavailable, match="takes no prompt"):
        a_diffusers_generator(folder).load()


@pytest.mark.parametrize(
    ("says", "makes"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), OutOfMemory),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"), OutOfMemory),
        (MemoryError(), OutOfMemory),
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
        generator.generate([a_tiny_request()], Watching())
    hook.remove()
    assert type(caught.value) is makes
    assert latents[0]() is None
    assert len(generator.generate([a_tiny_request()], Watching())) == 1


def test_a_stopped_call_frees_its_tensors(tiny: Path) -> None:
    generator = a_diffusers_generator(tiny)
    generator.load()
    latents: list[weakref.ref[torch.Tensor]] = []

    def remember(module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        latents.append(weakref.ref(arguments[0]))

    generator._pipe.unet.register_forward_pre_hook(remember)
    with pytest.raises(Stopped) as caught:
        generator.generate([a_tiny_request()], Watching(stop_at=2))
    assert (len(latents), latents[2](), caught.type) == (3, None, Stopped)


def test_a_picture_too_large_for_the_memory_of_the_machine_is_out_of_memory(tiny: Path) -> None:
    with pytest.raises(OutOfMemory, match=r"2 image\(s\) of 2147483648x2097152 do not fit"):
        a_diffusers_generator(tiny).generate([a_tiny_request(width=2**31, height=2**21)] * 2, Watching())


def test_pixels_that_are_not_numbers_fail_the_call(tiny: Path) -> None:
    generator = a_diffusers_generator(tiny)
    generator.load()
    with torch.no_grad():
        generator._pipe.vae.decoder.conv_out.bias.fill_(float("nan"))
    with pytest.raises(GeneratorFailed, match="not numbers"):
        generator.generate([a_tiny_request()], Watching())


def test_a_size_the_pipeline_refuses_is_not_tried_again(tiny: Path) -> None:
    with pytest.raises(GenerationError, match="divisible by 8") as caught:
        a_diffusers_generator(tiny).generate([a_tiny_request(width=33)], Watching())
    assert not caught.value.retryable


def test_the_revision_is_that_of_the_weights(tiny: Path, tmp_path: Path) -> None:
    pipe = a_tiny_stable_diffusion()
    revision = a_diffusers_generator(tiny).receipt()["revision"]
    same = saved(pipe, tmp_path / "same")
    assert a_diffusers_generator(same).receipt()["revision"] == revision
    with torch.no_grad():
        pipe.unet.conv_in.bias += 1
    assert a_diffusers_generator(saved(pipe, tmp_path / "other")).receipt()["revision"] != revision
    assert revision.startswith("sha256:")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=str(tmp_path / "absent")):
        a_diffusers_generator(tmp_path / "absent").load()


def test_a_folder_without_an_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"model_index\.json"):
        a_diffusers_generator(tmp_path).load()


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = saved(a_tiny_stable_diffusion(), tmp_path / "pickled", safetensors=False)
    with pytest.raises(ModelUnavailable, match="pickled weights only"):
        a_diffusers_generator(folder).load()


def test_code_that_comes_with_a_model_is_never_run(tmp_path: Path) -> None:
    folder = saved(a_tiny_stable_diffusion(), tmp_path / "own-code")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": ["pipeline", "Mine"]}))
    (folder / "pipeline.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelUnavailable, match="never run"):
        a_diffusers_generator(folder).load()
    (folder / "model_index.json").write_text(json.dumps(index | {"unet": ["mine", "Mine"]}))
    (folder / "unet" / "mine.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelUnavailable, match="could not be loaded"):
        a_diffusers_generator(folder).load()


def test_a_hub_that_is_out_of_reach_is_said_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelUnavailable, match=r"some/model.*could not be fetched from the hub.*HF_HUB_OFFLINE=1"):
        build(a_model(source="some/model"), Settings(device="cpu", torch_threads=1)).load()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dtype": "float8"}, "dtype must be one of"),
        ({"sharpness": 3}, "takes no option sharpness"),
        ({"guidance_scale": 3.0}, "takes no option guidance_scale"),
    ],
)
def test_an_option_that_the_pipeline_does_not_have_is_refused(tiny: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelUnavailable, match=says):
        a_diffusers_generator(tiny, options=options).load()


def test_a_device_that_torch_does_not_have_is_named(tiny: Path) -> None:
    with pytest.raises(ModelUnavailable, match="SAFELIGHT_DEVICE is 'warp:9'"):
        build(a_model(source=str(tiny)), Settings(device="warp:9")).load()


def test_a_generator_that_is_not_there_is_named() -> None:
    with pytest.raises(ModelUnavailable, match="openai_images"):
        build(a_model(generator="openai_images"), Settings())


def test_building_a_generator_touches_no_device(tiny: Path) -> None:
    program = (
        "import sys; from core.catalog import Model; from core.settings import Settings\n"
        "from worker.generators import build\n"
        "build(Model(id='a', generator='fake'), Settings()); assert 'torch' not in sys.modules\n"
        f"build(Model(id='b', generator='diffusers_local', source={str(tiny)!r}), Settings())\n"
        "import torch; assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
