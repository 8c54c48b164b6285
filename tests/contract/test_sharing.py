"""Neighbours in a micro-batch: nothing of another job may reach an image, neither its prompt nor its input images."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

from cli.local.embedded import EmbeddedValkey
from core.db import Database
from core.generation import Generator
from core.generation_errors import GenerationError, GeneratorFailed
from tests.factories import claim, submit_prompts
from tests.image_requests import with_changes
from tests.stack import CATALOG, settings_of
from worker.generation.context import Context
from worker.generation.heartbeat import Heartbeat
from worker.generation.inputs import Inputs
from worker.generation.local import Outcome, execute_locally
from worker.generation.progress import MicrobatchReporter
from worker.generators.sharing import SEPARATE_IMAGES, SEPARATE_PROMPTS
from worker.moderation.moderator import Moderator

from .kinds import KINDS, Artist, RecordingReporter, a_diffusers_generator, a_request, artists
from .pipelines import a_tiny_flux2, a_tiny_sdxl, save_pipeline, warnings_of_diffusers

pytestmark = warnings_of_diffusers

ARTISTS = [pair for pair in artists() if not pair[0].startswith("unclip-mini") or pair == ("unclip-mini", "inpainting")]
"""The bundled model is slow, and its inpainting has everything that its other tasks have."""
PROMPTS = ("", "three blue houses by the sea, in the style of an old postcard", "夜晚的城市")
COLOURS = ("black", "white")


def neighbours(artist: Artist) -> Iterator[Mapping[str, Any]]:
    """What another job may change about itself, at the extremes."""
    side, request = artist.kind.side_px, artist.request()
    if request.prompt:
        yield from ({"prompt": prompt} for prompt in PROMPTS)
    if request.image is not None:
        yield from ({"image": Image.new("RGB", (side, side), colour)} for colour in COLOURS)
    if request.mask is not None:
        yield from ({"mask": Image.new("L", (side, side), colour)} for colour in COLOURS)


def drawn(artist: Artist, *requests: Any) -> bytes:
    """The bytes of the first image of a call."""
    return artist.generator.generate(requests, RecordingReporter())[0].tobytes()


@pytest.mark.parametrize("artist", ARTISTS, indirect=True, ids=" / ".join)
def test_no_neighbour_changes_a_byte(artist: Artist) -> None:
    mine, neighbour = artist.request(seed=1, steps=2), artist.request(seed=2, steps=2)
    images = {drawn(artist, mine, with_changes(neighbour, **changes)) for changes in neighbours(artist)}
    assert len(images) == 1


@pytest.mark.parametrize(
    "artist", [pair for pair in ARTISTS if KINDS[pair[0]].hears_negative_prompts and pair[1] != "variation"],
    indirect=True, ids=" / ".join,
)  # fmt: skip
def test_no_neighbours_negative_prompt_changes_a_byte(artist: Artist) -> None:
    mine, neighbour = artist.request(negative_prompt="blurred", steps=2), artist.request(seed=2, steps=2)
    images = {drawn(artist, mine, with_changes(neighbour, negative_prompt=prompt)) for prompt in PROMPTS if prompt}
    assert len(images) == 1


@pytest.mark.parametrize("empty", [None, ""])
def test_a_job_without_a_negative_prompt_does_not_share_a_pass_with_one_that_has_one(
    tmp_path: Path, empty: str | None
) -> None:
    generator = a_diffusers_generator(save_pipeline(a_tiny_sdxl(), tmp_path / "sdxl"))
    without, other = (a_request("text-to-image", negative_prompt=prompt) for prompt in (empty, "blurred"))
    assert generator.sharing_key(without) != generator.sharing_key(other)
    with pytest.raises(GeneratorFailed, match="must not share a call"):
        generator.generate([without, other], RecordingReporter())


def test_every_class_that_is_trusted_is_tried_here(make_generator: Any) -> None:
    with_images, classes = set(), set()
    for name, task in ARTISTS:
        generator = make_generator(name)
        if name != "fake":
            pipeline = type(generator._load_operations().pipeline(a_request(task, KINDS[name].side_px))).__name__
            classes.add(pipeline)
            with_images |= {pipeline} if task != "text-to-image" else set()
    assert classes == SEPARATE_PROMPTS
    assert with_images == SEPARATE_IMAGES


@pytest.fixture(scope="session")
def flux2(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    folder = save_pipeline(a_tiny_flux2(), tmp_path_factory.mktemp("models") / "flux2")
    generator: Generator = a_diffusers_generator(folder, operations=["generation", "edit"], sizes=["64x64"])
    return generator


def run_microbatch(
    place: Path, database: Database, valkey: EmbeddedValkey, generator: Generator, jobs: Mapping[str, Inputs], n: int
) -> tuple[Context, list[Outcome]]:
    """Generate jobs, by prompt, that one claim has taken, as a worker does."""
    (place / "catalog.toml").write_text(CATALOG)
    environment = {
        "SAFELIGHT_CATALOG": str(place / "catalog.toml"),
        "SAFELIGHT_DATABASE_URL": database.engine.url.render_as_string(hide_password=False),
        "SAFELIGHT_DATA_DIR": str(place),
        "SAFELIGHT_REDIS_URL": valkey.url,
    }
    context = Context.open(settings_of(environment), Moderator([]))
    strength = None if next(iter(jobs.values())).image is None else 0.75
    operation = "generation" if strength is None else "edit"
    files = {} if strength is None else {"image": "file_1"}
    submit_prompts(database, *jobs, operation=operation, inputs=files, steps=2, n=n, strength=strength)
    lease = uuid4()
    rows = database.execute(claim(lease))
    assert {row.prompt for row in rows} == jobs.keys()
    heartbeat = Heartbeat(context, lease, [row.id for row in rows])
    inputs: dict[str, Inputs | GenerationError] = {row.id: jobs[row.prompt] for row in rows}
    outcomes = execute_locally(context, rows, inputs, generator, MicrobatchReporter(context, rows, heartbeat))
    return context, [outcomes[row.id] for row in rows]


def pixels(outcome: Outcome) -> list[bytes]:
    assert outcome.error is None
    return [image.tobytes() for image in outcome.images]


def test_edits_of_a_pipeline_that_takes_references_run_one_image_at_a_time(
    tmp_path: Path, database: Database, valkey: EmbeddedValkey, flux2: Generator
) -> None:
    photos = {colour: Inputs(Image.new("RGB", (64, 64), colour)) for colour in COLOURS}
    request = a_request("image-to-image", 64, "black", 7, image=photos["black"].image, steps=2)
    alone = flux2.generate([request], RecordingReporter())[0].tobytes()

    context, outcomes = run_microbatch(tmp_path, database, valkey, flux2, photos, n=2)

    assert pixels(outcomes[0])[0] == alone
    assert len({image for outcome in outcomes for image in pixels(outcome)}) == 4
    assert context.claim_limits == {"fake": 1}
    with pytest.raises(GeneratorFailed, match="must not share a call"):
        flux2.generate([request, request], RecordingReporter())


def test_a_pipeline_that_is_not_trusted_runs_one_prompt_at_a_time(
    tmp_path: Path, database: Database, valkey: EmbeddedValkey, flux2: Generator
) -> None:
    request = a_request("text-to-image", 64, "a cat", 7, steps=2)
    second = with_changes(request, seed=8)
    alone = [image.tobytes() for image in flux2.generate([request, second], RecordingReporter())]

    context, outcomes = run_microbatch(
        tmp_path, database, valkey, flux2, {"a cat": Inputs(), "another prompt, and longer": Inputs()}, n=2
    )

    assert pixels(outcomes[0]) == alone
    assert context.claim_limits == {"fake": 1}
