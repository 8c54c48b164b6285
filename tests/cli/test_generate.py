"""`safelight generate`, run as a user runs it, against a real API."""

import os
import pty
import signal
import subprocess
from uuid import uuid4

import pytest
from PIL import Image

from tests.cli.terminal import SMALL, Terminal, command, jobs_like, progress, read_screen
from tests.images import a_mask, an_image, decode, encode, same
from tests.stack import Stack, free_port
from tests.waiting import PATIENCE


def test_an_image_is_edited_where_its_mask_says_and_enlarged(terminal: Terminal) -> None:
    image = an_image()
    (terminal.directory / "room.png").write_bytes(encode(image))
    (terminal.directory / "mask.png").write_bytes(encode(a_mask()))

    process = terminal.run(
        "generate", "a dog", *SMALL, "--image", "room.png", "--mask", "mask.png", "--strength", "0.9", "-o", "new.png"
    )
    large = terminal.run("generate", "a dog", *SMALL, "--image", "room.png", "--upscale", "2", "-o", "large.png")

    assert (process.returncode, large.returncode) == (0, 0), process.stderr + large.stderr
    result = decode((terminal.directory / "new.png").read_bytes())
    assert same(result, image, (0, 0, 32, 64))
    assert not same(result, image, (32, 0, 64, 64))
    assert decode((terminal.directory / "large.png").read_bytes()).size == (128, 128)


def test_a_variation_takes_an_image_and_no_prompt(terminal: Terminal, safelight: Stack) -> None:
    (terminal.directory / "room.png").write_bytes(encode(an_image()))

    result = terminal.run("generate", *SMALL, "--image", "room.png", "--variation", "--no-wait")

    job = safelight.final(result.stdout.strip())
    assert (job["status"], job["operation"], job["prompt"]) == ("completed", "variation", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Name a prompt: safelight generate"),
        (("a cat", "--mask", "x.png"), "--image PATH"),
        (("--variation",), "--image PATH"),
        (("a cat", "--image", "nowhere.png"), "nowhere.png cannot be read"),
        (("a cat", "--image", "catalog.toml"), "PNG, JPEG, WebP, GIF, AVIF or HEIC"),
        (("a cat", "--image", "catalog.toml", "--variation"), "takes no prompt"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_a_job_is_made(
    terminal: Terminal, safelight: Stack, options: tuple[str, ...], message: str
) -> None:
    before = safelight.count()

    result = terminal.run("generate", *SMALL, *options)

    assert result.returncode == 1
    assert message in " ".join(result.stderr.split())
    assert safelight.count() == before


def test_a_prompt_becomes_an_image_in_the_file_named(terminal: Terminal) -> None:
    result = terminal.run("generate", "a cat", "-o", "cat.png", "--model", "slow", "--steps", "10", "--seed", "7")

    assert (result.returncode, result.stdout) == (0, "cat.png\n"), result.stderr
    with Image.open(terminal.directory / "cat.png") as image:
        assert (image.format, image.size) == ("PNG", (64, 64))
    lines = progress(result.stderr)
    assert [lines[0], *lines[-2:]] == ["queued", "step 10 of 10", "completed"]
    assert "generating" in lines
    assert len([line for line in lines if line.startswith("step ")]) > 3


def test_every_option_reaches_the_job(terminal: Terminal, safelight: Stack) -> None:
    prompt = f"all of it {uuid4()}"
    options = ("--size", "128x128", "--n", "2", "--seed", "5", "--steps", "3", "--guidance-scale", "2.5")
    result = terminal.run("generate", prompt, *options, "--negative-prompt", "dogs", "--model", "fake", "-o", "cat.jpg")

    assert result.stdout == "cat-0.jpg\ncat-1.jpg\n", result.stderr
    (job,) = jobs_like(safelight, prompt)
    fields = ("size", "n", "seed", "steps", "guidance_scale", "negative_prompt", "model", "output_format")
    assert [job[name] for name in fields] == ["128x128", 2, 5, 3, 2.5, "dogs", "fake", "jpeg"]
    for image in job["images"]:
        assert (terminal.directory / f"cat-{image['index']}.jpg").read_bytes() == safelight.image(image)


def test_without_a_name_the_image_is_named_by_its_job(terminal: Terminal, safelight: Stack) -> None:
    name = terminal.run("generate", "a cat", *SMALL, "--format", "webp").stdout.strip()

    assert [path.name for path in terminal.directory.glob("job_*")] == [name]
    assert name == f"{safelight.job(name.removesuffix('.webp'))['id']}.webp"


def test_a_directory_takes_images_named_by_their_job(terminal: Terminal) -> None:
    (terminal.directory / "shots").mkdir()

    names = terminal.run("generate", "a cat", *SMALL, "-n", "2", "-o", "shots/").stdout.splitlines()

    assert sorted(str(path.relative_to(terminal.directory)) for path in terminal.directory.glob("shots/*")) == names
    assert [name[-6:] for name in names] == ["-0.png", "-1.png"]


def test_no_wait_prints_the_job_and_leaves_it_alone(terminal: Terminal, safelight: Stack) -> None:
    result = terminal.run("generate", "a cat", *SMALL, "--no-wait")

    assert (result.returncode, result.stderr) == (0, "")
    assert safelight.final(result.stdout.strip())["status"] == "completed"
    assert not list(terminal.directory.glob("*.png"))


def test_a_terminal_gets_a_bar_and_stdout_the_path_alone(terminal: Terminal) -> None:
    screen, stderr = pty.openpty()
    arguments = command("generate", "a cat", "--model", "slow", "--steps", "10", "-o", "cat.png")
    environment = {**os.environ, **terminal.settings, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(
        arguments, env=environment, cwd=terminal.directory, stdout=subprocess.PIPE, stderr=stderr, text=True
    ) as process:
        os.close(stderr)
        screen_text = read_screen(screen)
        stdout, _ = process.communicate(timeout=PATIENCE)

    assert (process.returncode, stdout) == (0, "cat.png\n"), screen_text
    for words in ("job_", "generating", "━", "10/10", "completed"):
        assert words in screen_text


def test_a_job_that_fails_gives_its_code_and_message(terminal: Terminal) -> None:
    result = terminal.run("generate", "[refuse]", *SMALL)

    assert (result.returncode, result.stdout) == (1, "")
    last = result.stderr.splitlines()[-1]
    assert last.startswith("safelight: job_")
    assert last.endswith(" failed (generation_failed): The prompt asked to be refused.")


def test_ctrl_c_cancels_the_job(terminal: Terminal, safelight: Stack, ctrl_c: None) -> None:
    with terminal.start("generate", "a cat", "--model", "slow", "--steps", "1000") as process:
        job_id = process.until_says(": generating").partition(":")[0]
        process.signal(signal.SIGINT)

        assert process.wait() == 130
        process.until_says(f"{job_id} is being cancelled: it stops at its next step.")
    assert safelight.final(job_id)["status"] == "cancelled"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("-o", "cat.gif"),
            "cat.gif is no directory, and an image's name ends in .png, .webp, .jpg, .jpeg.",
        ),
        (("-o", "cat.png", "--format", "webp"), "cat.png is the name of a png file, but --format says webp."),
        (("-o", "nowhere/cat.png"), "There is no directory nowhere."),
        (("-o", "cat.png", "--no-wait"), "--no-wait saves nothing, so it does not go with -o."),
        (("--size", "1x1"), "size '1x1' is not available for fake; choose from 64x64, 128x128, 256x256."),
        (("--guidance-scale", "nan"), "guidance_scale should be a finite number."),
        (("--model", "mona-lisa"), "The model 'mona-lisa' does not exist. Available models: fake, slow, elsewhere."),
        (("--key", "ключ"), "The API key has invalid characters: check --key or SAFELIGHT_API_KEY."),
        (
            ("--url", "localhost:8000"),
            "localhost:8000 is not a valid URL of Safelight; an example is http://127.0.0.1:8000.",
        ),
        (("--url", "http://h:1/v1"), "The URL http://h:1/v1 must not end in /v1: the client adds it."),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_no_job(
    terminal: Terminal, safelight: Stack, options: tuple[str, ...], sentence: str
) -> None:
    before = safelight.count()

    assert terminal.refusal("generate", "a cat", *options) == sentence
    assert safelight.count() == before


@pytest.mark.parametrize(("n", "name"), [("1", "cat.png"), ("3", "cat-2.png")])
def test_a_file_is_not_overwritten_unless_forced(terminal: Terminal, safelight: Stack, n: str, name: str) -> None:
    path = terminal.directory / name
    path.write_text("dear to me")
    arguments, before = ("generate", "a cat", *SMALL, "-n", n, "-o", "cat.png"), safelight.count()

    message = terminal.refusal(*arguments)

    assert message == f"{name} exists already: choose another name, or overwrite it with --force."
    assert (path.read_text(), safelight.count()) == ("dear to me", before)
    assert terminal.run(*arguments, "--force").returncode == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_an_api_that_is_not_there_says_how_to_start_it(terminal: Terminal) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    message = terminal.refusal("jobs", SAFELIGHT_URL=url)

    assert message == (
        f"Safelight does not answer at {url}: start it with `safelight up`, or set its URL with --url or SAFELIGHT_URL."
    )


def test_an_api_that_asks_for_a_key_takes_it_from_option_or_environment(terminal: Terminal, own: Stack) -> None:
    own.environment["SAFELIGHT_AUTH"] = "on"
    own.api()
    result = terminal.run("keys", "create", "test", **own.environment)
    key, url = result.stdout.strip(), own.url

    refusal = terminal.refusal("jobs", "--url", url)
    assert refusal == (
        "The API key is missing or not valid: set it with --key or SAFELIGHT_API_KEY "
        "(`safelight keys create NAME` creates one)."
    )
    assert terminal.run("jobs", "--url", url, "--key", key).returncode == 0
    assert terminal.run("jobs", SAFELIGHT_URL=url, SAFELIGHT_API_KEY=key).returncode == 0
