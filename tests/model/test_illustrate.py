"""The images of docs/model.md: one command makes them, by a sampler that does what the pipeline does."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

import core
from training.illustrate import CAT, GUIDANCE, STEPS, Studio, main, noise, open_studio
from training.page import image

ROOT = Path(core.__file__).parent.parent
COMPOSED = ROOT / "docs" / "images" / "composed.webp"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Operations are so short here that threads would wait for each other; see diffusers_local.py."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def studio() -> Studio:
    return open_studio(ROOT / "models" / "unclip-mini", COMPOSED)


@torch.inference_mode()
def test_the_sampler_of_twenty_lines_draws_what_the_pipeline_draws(studio: Studio) -> None:
    # Both are given image embeddings, so that a prior, which only the pipeline has, is not asked.
    prompts, seeds = [CAT, "一只熊猫在雪地里"], (1, 2)
    embeds = studio.encode_images([image(pixels) for pixels in studio.composed[:2]])
    ours = studio.sample(studio.encode_text(prompts), noise(seeds), image_embeds=embeds)
    theirs = studio.pipe(
        prompts,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        image_embeds=embeds,
        output_type="latent",
        return_dict=False,
    )[0]
    # The pipeline computes in bfloat16 where the CPU has it; a latent has a standard deviation of 1.
    assert float((ours - theirs).abs().mean()) < 0.1
    assert float((ours - theirs.flip(0)).abs().mean()) > 0.5


def test_one_command_draws_images_from_the_model_of_a_folder(tmp_path: Path) -> None:
    shutil.copy(COMPOSED, tmp_path)
    main(["autoencoder", "--out", str(tmp_path), "--model", str(ROOT / "models" / "unclip-mini")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["autoencoder.webp", "composed.webp"]
    pixels = numpy.asarray(Image.open(tmp_path / "autoencoder.webp").convert("RGB"), float)
    reference_pixels = numpy.asarray(Image.open(COMPOSED.with_name("autoencoder.webp")).convert("RGB"), float)
    assert pixels.shape == reference_pixels.shape
    assert abs(pixels - reference_pixels).mean() < 10, "draw the images anew: python -m training.illustrate"


def test_the_code_that_opens_the_model_in_the_page_s_exercises_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```py\n(.*?)```", (ROOT / "docs" / "model.md").read_text("utf-8"), re.S)
    monkeypatch.chdir(ROOT)
    pixels: dict[str, Any] = {}
    exec(compile(code, "docs/model.md", "exec"), pixels)  # noqa: S102 - our own page
    assert [image.size for image in pixels["images"]] == [(128, 128)] * 2


def test_an_image_that_there_is_not_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["cubism", "--out", str(tmp_path)])
    assert "there is no image cubism" in capsys.readouterr().err
