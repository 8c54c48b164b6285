"""Progress and cancellation, over the shapes of diffusers' loops: guidance, solvers, cascades, transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    UniPCMultistepScheduler,
)
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from core.generation import Stopped
from core.settings import Settings
from tests.image_requests import image_request, with_changes
from worker.generators import build
from worker.generators.denoiser import denoisers, report_steps

from .kinds import RecordingReporter, a_model, a_photo
from .pipelines import SIDE_PX, a_tiny_flux, a_tiny_stable_diffusion, save_pipeline, warnings_of_diffusers

pytestmark = warnings_of_diffusers


SOLVERS = [  # with the steps they take when six are asked for, and when an edit has half the noise to take away
    (DDIMScheduler, 6, 3),
    (DPMSolverMultistepScheduler, 6, 3),
    (DPMSolverSinglestepScheduler, 6, 3),
    (HeunDiscreteScheduler, 6, 3),
    (LCMScheduler, 6, 3),
    (PNDMScheduler, 9, 7),  # its first three steps are Runge-Kutta steps of two more timesteps each
    (UniPCMultistepScheduler, 6, 3),
]


class Denoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers is untyped
    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return sample * self.scale


class TokenDenoiser(Denoiser):
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return tokens * self.scale


class Cascade(DiffusionPipeline):  # type: ignore[misc]
    """Three stages, each with a scheduler of its own; the decoder is called twice a step, as some guidance does."""

    def __init__(self, prior: Any, decoder: Any, upsampler: Any, first: Any, second: Any, third: Any) -> None:
        super().__init__()
        self.register_modules(
            prior=prior, decoder=decoder, upsampler=upsampler, first=first, second=second, third=third
        )

    def __call__(self, steps: int) -> None:
        sample = torch.zeros(2, 4)
        for module, scheduler, calls in (
            (self.prior, self.first, 1),
            (self.decoder, self.second, 2),
            (self.upsampler, self.third, 1),
        ):
            scheduler.set_timesteps(steps)
            for timestep in scheduler.timesteps:
                for _ in range(calls):
                    module(sample, timestep=timestep.expand(2))


def a_cascade() -> Cascade:
    return Cascade(Denoiser(), Denoiser(), Denoiser(), DDIMScheduler(), DDIMScheduler(), DDIMScheduler())


def hooks(pipe: Any) -> int:
    return sum(len(module._forward_pre_hooks) for module in denoisers(pipe))


@pytest.mark.parametrize(("scheduler", "total", "of_half"), SOLVERS)
@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_every_solver_counts_from_nought_to_its_total(
    scheduler: Any, total: int, of_half: int, guidance_scale: float
) -> None:
    pipe = a_tiny_stable_diffusion()
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    reporter = RecordingReporter()
    with report_steps(pipe, reporter, 6):
        pipe("a cat", num_inference_steps=6, guidance_scale=guidance_scale)
    assert reporter.steps == [(step, total) for step in range(total + 1)]


@pytest.mark.parametrize(("scheduler", "total", "of_half"), SOLVERS)
def test_every_solver_counts_the_steps_that_are_left_to_an_edit(scheduler: Any, total: int, of_half: int) -> None:
    pipe = a_tiny_stable_diffusion(StableDiffusionImg2ImgPipeline)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    reporter = RecordingReporter()
    with report_steps(pipe, reporter, 6):
        pipe("a cat", image=a_photo(SIDE_PX), strength=0.5, num_inference_steps=6)
    assert reporter.steps == [(step, of_half) for step in range(of_half + 1)]


def test_the_stages_of_a_cascade_count_as_one_rising_row() -> None:
    pipe, reporter = a_cascade(), RecordingReporter()
    with report_steps(pipe, reporter, 12):
        pipe(steps=4)
    assert reporter.steps == [(step, 12) for step in range(13)]


def test_more_steps_than_were_asked_never_pass_the_total() -> None:
    pipe, reporter = a_cascade(), RecordingReporter()
    with report_steps(pipe, reporter, 10):
        pipe(steps=4)
    assert reporter.steps == [*((step, 10) for step in range(10)), (9, 10), (9, 10), (10, 10)]


def test_a_denoiser_without_a_timestep_counts_its_calls() -> None:
    pipe, reporter = a_cascade(), RecordingReporter()
    pipe.register_modules(prior=None, decoder=TokenDenoiser(), upsampler=None)
    with report_steps(pipe, reporter, 3):
        for _ in range(3):
            pipe.decoder(torch.zeros(1))
    assert reporter.steps == [(0, 3), (1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("leave", [Stopped, RuntimeError, KeyboardInterrupt])
def test_the_hooks_are_gone_however_the_call_ends(leave: type[BaseException]) -> None:
    pipe = a_cascade()

    def run() -> None:
        with report_steps(pipe, RecordingReporter(), 12):
            pipe(steps=2)
            assert hooks(pipe) == 3
            raise leave

    with pytest.raises(leave):
        run()
    assert hooks(pipe) == 0


def test_a_transformer_that_is_called_by_keywords_reports_its_steps_too(tmp_path: Path) -> None:
    folder = save_pipeline(a_tiny_flux(), tmp_path / "flux")
    generator = build(a_model(source=str(folder)), Settings(device="cpu", torch_threads=1))
    request = image_request("a cat", side=SIDE_PX, seed=1, steps=5)
    reporter = RecordingReporter()
    assert [image.size for image in generator.generate([request, request], reporter)] == [(SIDE_PX, SIDE_PX)] * 2
    assert reporter.steps == [(step, 5) for step in range(6)]


def test_a_negative_prompt_without_guidance_is_a_notice_and_is_not_passed_on(tmp_path: Path) -> None:
    folder = save_pipeline(a_tiny_flux(), tmp_path / "flux")
    request = image_request(side=SIDE_PX, seed=1, steps=2, negative_prompt="blurred")
    settings = Settings(device="cpu", torch_threads=1)
    plain = build(a_model(source=str(folder)), settings)
    images = [
        plain.generate([with_changes(request, negative_prompt=text)], RecordingReporter())[0]
        for text in ("blurred", None)
    ]
    assert images[0] == images[1]
    (notice,) = plain.notices(request)
    assert (notice.param, notice.code) == ("negative_prompt", "parameter_not_used")
    guided = build(a_model(source=str(folder), options={"true_cfg_scale": 4.0}), settings)
    reporter = RecordingReporter()
    assert len(guided.generate([request], reporter)) == 1
    assert reporter.steps == [(0, 2), (1, 2), (2, 2)]
