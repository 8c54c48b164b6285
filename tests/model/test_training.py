"""The tiny training chain, from stand-in sprites to a folder with a model that works."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from training import (
    artwork,
    autoencoder,
    captions,
    clip,
    configuration,
    data,
    decoder,
    judge,
    prior,
    scenes,
    upscaler,
)
from training.configuration import Budget
from training.loop import Average, Run
from training.muon import orthogonalise
from training.scenes import Painter, Scene
from worker.generators.unclip.pipeline import UnclipPipeline

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def training_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Working folder, exported folder and output of one tiny run of the whole chain."""
    folder = tmp_path_factory.mktemp("training")
    command = [
        sys.executable,
        "-m",
        "training",
        "all",
        "--tiny",
        "--data",
        str(folder / "data"),
        "--out",
        str(folder / "out"),
    ]
    result = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, capture_output=True
    )
    assert result.returncode == 0, result.stderr
    return folder / "data", folder / "out", result.stdout


@pytest.mark.slow
def test_the_chain_ends_in_a_folder_that_draws(training_run: tuple[Path, Path, str]) -> None:
    pipe = UnclipPipeline.from_pretrained(training_run[1])
    pipe.set_progress_bar_config(disable=True)
    image = pipe("a cat on a sofa", num_inference_steps=2, return_dict=False)[0][0]
    assert image.size == (128, 128)
    assert np.asarray(image).std() > 1


@pytest.mark.slow
def test_the_loss_of_every_stage_falls(training_run: tuple[Path, Path, str]) -> None:
    for stage in ("clip", "autoencoder", "judge", "upscaler", "prior", "decoder"):
        losses = torch.load(training_run[0] / f"{stage}.pt", weights_only=True)["losses"]
        assert losses[-1] < losses[0], (stage, losses)


@pytest.mark.slow
def test_a_second_run_repeats_nothing(training_run: tuple[Path, Path, str]) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in training_run[0].glob("*.pt")}
    tiny_configuration = configuration.tiny(training_run[0])
    for stage in (clip, autoencoder, judge, upscaler, prior, decoder):
        stage.train(tiny_configuration)
    assert {path: path.stat().st_mtime_ns for path in training_run[0].glob("*.pt")} == stamps


def test_an_interrupted_run_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 2)
    first = Run(tmp_path / "x.pt", Budget(steps=10), seed=1, network=network, average=Average(network, 0.9))
    for _ in range(3):
        assert first.going()
        first.step(1.0, 4)
    first.save()

    other_network = torch.nn.Linear(2, 2)
    second = Run(
        tmp_path / "x.pt", Budget(steps=10), seed=1, network=other_network, average=Average(other_network, 0.9)
    )
    assert (second.steps, second.samples, second.is_finished) == (3, 12, False)
    assert torch.equal(other_network.weight, network.weight)


def test_a_larger_budget_takes_a_finished_run_up_again(tmp_path: Path) -> None:
    first = Run(tmp_path / "x.pt", Budget(steps=1), seed=1)
    first.step(1.0, 4)
    first.save(is_finished=True)
    assert not Run(tmp_path / "x.pt", Budget(steps=1), seed=1).going()
    assert Run(tmp_path / "x.pt", Budget(steps=2), seed=1).going()


def test_a_scene_is_painted_the_same_every_time() -> None:
    sprites = artwork.stand_ins()
    scene = scenes.random_scene(Random(3))  # noqa: S311  # no secret
    copy = Scene.from_json(scene.as_json())
    assert copy == scene
    assert np.array_equal(Painter(sprites).paint(scene), Painter(sprites).paint(copy))


def test_held_out_pairs_are_never_trained_on() -> None:
    random = Random(0)  # noqa: S311  # no secret
    for _ in range(2000):
        scene = scenes.random_scene(random)
        assert not any(scenes.held_out(name, scene.place) for name in scene.objects)


def test_captions_name_the_object_in_both_languages() -> None:
    random = Random(0)  # noqa: S311  # no secret
    scene = scenes.random_scene(random, pair=("panda", "snow"))
    for _ in range(100):
        assert "panda" in captions.caption(scene, random, "en").lower()
        assert "熊猫" in captions.caption(scene, random, "zh", complete=True)


@pytest.mark.parametrize(
    ("noun", "several"),
    [
        ("cat", "cats"),
        ("mouse", "mice"),
        ("bunny", "bunnies"),
        ("bus", "buses"),
        ("fox", "foxes"),
        ("donkey", "donkeys"),
    ],
)
def test_several_things_are_counted_in_the_plural(noun: str, several: str) -> None:
    assert captions.plural(noun) == several


def test_a_scene_painted_larger_shows_the_same() -> None:
    sprites = artwork.stand_ins()
    for seed in range(20):
        scene = scenes.random_scene(Random(seed))  # noqa: S311  # no secret
        small, large = (Painter(sprites, scale).paint(scene).astype(float) for scale in (1, 2))
        mean = large.reshape(128, 2, 128, 2, 3).mean((1, 3))
        assert np.abs(mean - small).mean() < 4


def test_labels_sum_to_one() -> None:
    random = Random(0)  # noqa: S311  # no secret
    for target in data.labels([scenes.random_scene(random) for _ in range(50)]).values():
        assert torch.allclose(target.sum(1), torch.ones(50))


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(2, 24, 64)).float())
    assert values.min() > 0.5
    assert values.max() < 1.4
