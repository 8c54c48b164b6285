"""The client commands, run as a user runs them, against a real API."""

import json
import os
import pty
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

from cli.client import Client
from cli.errors import CommandError
from tests.cli.terminal import Terminal, command
from tests.cli.wire import Wire
from tests.pictures import a_mask, a_picture, decoded, encoded, same
from tests.processes import PATIENCE
from tests.stack import Stack, free_port

SMALL = ("--size", "64x64")


@pytest.fixture
def terminal(safelight: Stack, tmp_path: Path) -> Terminal:
    """In an empty directory, with settings that say where the Safelight of the session is."""
    (tmp_path / "here").mkdir()
    return Terminal(tmp_path / "here", safelight.port)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """A shell that starts the tests in the background hands on an ignored SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def jobs_like(safelight: Stack, prompt: str) -> list[dict[str, Any]]:
    listed = safelight.client.get("/v1/jobs", params={"limit": 100}).json()["data"]
    return [job for job in listed if job["prompt"] == prompt]


def progress(stderr: str) -> list[str]:
    """What was said of the one job that was followed."""
    ids = {line.partition(": ")[0] for line in stderr.splitlines()}
    assert len(ids) == 1, stderr
    return [line.partition(": ")[2] for line in stderr.splitlines()]


# generate


def test_a_picture_is_edited_where_its_mask_says_and_enlarged(terminal: Terminal) -> None:
    picture = a_picture()
    (terminal.directory / "room.png").write_bytes(encoded(picture))
    (terminal.directory / "mask.png").write_bytes(encoded(a_mask()))

    ended = terminal.run(
        "generate", "a dog", *SMALL, "--image", "room.png", "--mask", "mask.png", "--strength", "0.9", "-o", "new.png"
    )
    large = terminal.run("generate", "a dog", *SMALL, "--image", "room.png", "--upscale", "2", "-o", "large.png")

    assert (ended.returncode, large.returncode) == (0, 0), ended.stderr + large.stderr
    result = decoded((terminal.directory / "new.png").read_bytes())
    assert same(result, picture, (0, 0, 32, 64))
    assert not same(result, picture, (32, 0, 64, 64))
    assert decoded((terminal.directory / "large.png").read_bytes()).size == (128, 128)


def test_a_variation_takes_a_picture_and_no_prompt(terminal: Terminal, safelight: Stack) -> None:
    (terminal.directory / "room.png").write_bytes(encoded(a_picture()))

    ended = terminal.run("generate", *SMALL, "--image", "room.png", "--variation", "--no-wait")

    job = safelight.final(ended.stdout.strip())
    assert (job["status"], job["operation"], job["prompt"]) == ("completed", "variation", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "Say what to draw"),
        (("a cat", "--mask", "x.png"), "--image PATH"),
        (("--variation",), "--image PATH"),
        (("a cat", "--image", "nowhere.png"), "nowhere.png cannot be read"),
        (("a cat", "--image", "catalog.toml"), "PNG, JPEG or WebP"),
        (("a cat", "--image", "catalog.toml", "--variation"), "takes no prompt"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_a_job_is_made(
    terminal: Terminal, safelight: Stack, options: tuple[str, ...], said: str
) -> None:
    before = safelight.count()

    ended = terminal.run("generate", *SMALL, *options)

    assert ended.returncode == 1
    assert said in " ".join(ended.stderr.split())
    assert safelight.count() == before


def test_a_prompt_becomes_a_picture_in_the_file_named(terminal: Terminal) -> None:
    ended = terminal.run("generate", "a cat", "-o", "cat.png", "--model", "slow", "--steps", "10", "--seed", "7")

    assert (ended.returncode, ended.stdout) == (0, "cat.png\n"), ended.stderr
    with Image.open(terminal.directory / "cat.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (64, 64))
    said = progress(ended.stderr)
    assert [said[0], *said[-2:]] == ["queued", "step 10 of 10", "completed"]
    assert "drawing" in said
    assert len([line for line in said if line.startswith("step ")]) > 3


def test_every_option_reaches_the_job(terminal: Terminal, safelight: Stack) -> None:
    prompt = f"all of it {uuid4()}"
    options = ("--size", "128x128", "--n", "2", "--seed", "5", "--steps", "3", "--guidance-scale", "2.5")
    asked = terminal.run("generate", prompt, *options, "--negative-prompt", "dogs", "--model", "fake", "-o", "cat.jpg")

    assert asked.stdout == "cat-0.jpg\ncat-1.jpg\n", asked.stderr
    (job,) = jobs_like(safelight, prompt)
    fields = ("size", "n", "seed", "steps", "guidance_scale", "negative_prompt", "model", "output_format")
    assert [job[name] for name in fields] == ["128x128", 2, 5, 3, 2.5, "dogs", "fake", "jpeg"]
    for image in job["images"]:
        assert (terminal.directory / f"cat-{image['index']}.jpg").read_bytes() == safelight.picture(image)


def test_without_a_name_the_picture_is_named_by_its_job(terminal: Terminal, safelight: Stack) -> None:
    name = terminal.run("generate", "a cat", *SMALL, "--format", "webp").stdout.strip()

    assert [path.name for path in terminal.directory.glob("job_*")] == [name]
    assert name == f"{safelight.job(name.removesuffix('.webp'))['id']}.webp"


def test_a_directory_takes_pictures_named_by_their_job(terminal: Terminal) -> None:
    (terminal.directory / "shots").mkdir()

    names = terminal.run("generate", "a cat", *SMALL, "-n", "2", "-o", "shots/").stdout.splitlines()

    assert sorted(str(path.relative_to(terminal.directory)) for path in terminal.directory.glob("shots/*")) == names
    assert [name[-6:] for name in names] == ["-0.png", "-1.png"]


def test_no_wait_prints_the_job_and_leaves_it_alone(terminal: Terminal, safelight: Stack) -> None:
    ended = terminal.run("generate", "a cat", *SMALL, "--no-wait")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert safelight.final(ended.stdout.strip())["status"] == "completed"
    assert not list(terminal.directory.glob("*.png"))


def test_a_terminal_gets_a_bar_and_stdout_the_path_alone(terminal: Terminal) -> None:
    screen, stderr = pty.openpty()
    arguments = command("generate", "a cat", "--model", "slow", "--steps", "10", "-o", "cat.png")
    environment = {**os.environ, **terminal.settings, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(
        arguments, env=environment, cwd=terminal.directory, stdout=subprocess.PIPE, stderr=stderr, text=True
    ) as process:
        os.close(stderr)
        shown = everything_on(screen)
        said, _ = process.communicate(timeout=PATIENCE)

    assert (process.returncode, said) == (0, "cat.png\n"), shown
    for words in ("job_", "drawing", "━", "10/10", "completed"):
        assert words in shown


def everything_on(screen: int) -> str:
    shown = b""
    with os.fdopen(screen, "rb", buffering=0) as file:
        try:
            while part := file.read(65536):
                shown += part
        except OSError:  # Linux's way to say that nobody writes to it any more
            pass
    return shown.decode()


def test_a_job_that_fails_gives_its_code_and_message(terminal: Terminal) -> None:
    ended = terminal.run("generate", "[refuse]", *SMALL)

    assert (ended.returncode, ended.stdout) == (1, "")
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("safelight: job_")
    assert last.endswith(" failed (generation_failed): The prompt asked to be refused.")


def test_ctrl_c_cancels_the_job(terminal: Terminal, safelight: Stack, ctrl_c: None) -> None:
    with terminal.start("generate", "a cat", "--model", "slow", "--steps", "1000") as process:
        job_id = process.until_says(": drawing").partition(":")[0]
        process.signal(signal.SIGINT)

        assert process.wait() == 130
        process.until_says(f"{job_id} is being cancelled: it stops at its next step.")
    assert safelight.final(job_id)["status"] == "cancelled"


# generate, where it refuses


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("-o", "cat.gif"),
            "cat.gif is no directory, and a picture's name ends in .png, .webp, .jpg, .jpeg.",
        ),
        (("-o", "cat.png", "--format", "webp"), "cat.png is the name of a png file, but --format says webp."),
        (("-o", "nowhere/cat.png"), "There is no directory nowhere."),
        (("-o", "cat.png", "--no-wait"), "--no-wait saves nothing, so it does not go with -o."),
        (("--size", "1x1"), "size '1x1' is not one that fake draws: 64x64, 128x128, 256x256."),
        (("--guidance-scale", "nan"), "guidance_scale should be a finite number."),
        (("--model", "mona-lisa"), "The model 'mona-lisa' does not exist. Models here: fake, slow, elsewhere."),
        (("--key", "ключ"), "The API key has characters that no key has: check --key or SAFELIGHT_API_KEY."),
        (("--url", "localhost:8000"), "localhost:8000 is no URL of a Safelight: one looks like http://127.0.0.1:8000."),
        (("--url", "http://h:1/v1"), "Leave the /v1 out of http://h:1/v1: the command adds it."),
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
    there = terminal.directory / name
    there.write_text("dear to me")
    asked, before = ("generate", "a cat", *SMALL, "-n", n, "-o", "cat.png"), safelight.count()

    said = terminal.refusal(*asked)

    assert said == f"{name} exists already: choose another name, or overwrite it with --force."
    assert (there.read_text(), safelight.count()) == ("dear to me", before)
    assert terminal.run(*asked, "--force").returncode == 0
    assert there.read_bytes().startswith(b"\x89PNG")


def test_an_api_that_is_not_there_says_how_to_start_it(terminal: Terminal) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    said = terminal.refusal("jobs", SAFELIGHT_URL=url)

    assert said == (
        f"Safelight does not answer at {url}: start it with `safelight up`, "
        "or name another one with --url or SAFELIGHT_URL."
    )


def test_an_api_that_asks_for_a_key_takes_it_from_option_or_environment(terminal: Terminal, own: Stack) -> None:
    own.environment["SAFELIGHT_AUTH"] = "on"
    own.api()
    made = terminal.run("keys", "create", "test", **own.environment)
    key, url = made.stdout.strip(), own.url

    refusal = terminal.refusal("jobs", "--url", url)
    assert refusal == (
        "The API key is missing or not valid: give one with --key or SAFELIGHT_API_KEY "
        "(`safelight keys create NAME` makes one)."
    )
    assert terminal.run("jobs", "--url", url, "--key", key).returncode == 0
    assert terminal.run("jobs", SAFELIGHT_URL=url, SAFELIGHT_API_KEY=key).returncode == 0


# A broken connection


def test_a_post_whose_answer_was_lost_is_one_job(terminal: Terminal, safelight: Stack) -> None:
    prompt = f"once {uuid4()}"
    with Wire(safelight.port, lambda asked, _: b"POST /v1/jobs " in asked) as wire:
        ended = terminal.run("generate", prompt, *SMALL, "-o", "cat.png", SAFELIGHT_URL=wire.url)

    assert wire.has_cut
    assert (ended.returncode, ended.stdout) == (0, "cat.png\n"), ended.stderr
    assert len(jobs_like(safelight, prompt)) == 1


def test_a_broken_stream_goes_on_after_the_last_event(terminal: Terminal, safelight: Stack) -> None:
    with Wire(safelight.port, lambda _, answered: b"event: job.progress" in answered) as wire:
        asked = ("generate", "a cat", "--model", "slow", "--steps", "30", "-o", "cat.png")
        ended = terminal.run(*asked, SAFELIGHT_URL=wire.url)

    assert wire.has_cut
    assert (ended.returncode, ended.stdout) == (0, "cat.png\n"), ended.stderr
    said = progress(ended.stderr)
    assert [said.count(state) for state in ("queued", "drawing", "completed")] == [1, 1, 1]
    first, second = re.findall(r"last-event-id: (\d+)", wire.asked)
    assert 0 == int(first) < int(second)


def test_patience_with_an_api_that_went_away_ends(own: Stack) -> None:
    api = own.api()
    job = own.submit(model="elsewhere")
    with Client(own.url, patience=0.0) as client:
        events = client.events(job["id"])
        assert next(events).type == "job.queued"
        api.kill()

        with pytest.raises(CommandError, match=rf"{job['id']} goes on: `safelight watch {job['id']}`."):
            list(events)


def test_an_api_without_its_database_is_asked_again_and_quoted_in_the_end(own: Stack) -> None:
    own.environment["SAFELIGHT_DATABASE_URL"] = f"postgresql://127.0.0.1:{free_port()}/nothing"
    own.api()
    with Client(own.url, patience=1.5) as client, pytest.raises(CommandError) as raised:
        client.submit({"prompt": "a cat"})

    assert str(raised.value) == (
        f"After 1.5 s {own.url} still answers 503 (The database does not answer; nothing was stored, try again)."
    )


def test_a_server_that_is_no_safelight_is_told_apart(terminal: Terminal) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"

        said = terminal.refusal("jobs", "--url", url)
        server.shutdown()

    assert said == f"{url}/v1/jobs answered 404 as no Safelight does: check --url or SAFELIGHT_URL."


def test_a_picture_that_was_changed_on_the_shelf_is_not_saved(safelight: Stack) -> None:
    (image,) = safelight.final(safelight.submit()["id"])["images"]
    (file,) = (safelight.directory / "images").rglob(f"{image['job_id']}/**/*.png")
    file.write_bytes(file.read_bytes()[:-1] + b"!")

    with Client(safelight.url) as client, pytest.raises(CommandError, match="has not arrived as it was stored"):
        client.download(image)


# watch, jobs, cancel


def test_watching_shows_a_job_to_its_end_and_links_to_its_pictures(terminal: Terminal, safelight: Stack) -> None:
    job = safelight.submit(model="slow", steps=10)

    ended = terminal.run("watch", job["id"])

    assert progress(ended.stderr)[-2:] == ["step 10 of 10", "completed"]
    assert ended.stdout.split() == [image["url"] for image in safelight.job(job["id"])["images"]]


def test_ctrl_c_ends_the_watching_and_not_the_job(terminal: Terminal, safelight: Stack, ctrl_c: None) -> None:
    job = safelight.submit(model="slow", steps=1000)
    with terminal.start("watch", job["id"]) as process:
        process.until_says(": drawing")
        process.signal(signal.SIGINT)

        assert process.wait() == 130
        process.until_says(f"{job['id']} goes on; `safelight cancel {job['id']}` stops it.")
    assert safelight.job(job["id"])["status"] == "in_progress"
    said = terminal.run("cancel", job["id"]).stdout
    assert said == f"{job['id']} is being cancelled: it stops at its next step.\n"


def test_watching_a_job_that_was_cancelled_says_so(terminal: Terminal, safelight: Stack) -> None:
    job = safelight.submit(model="elsewhere")
    assert terminal.run("cancel", job["id"]).stdout == f"{job['id']} is cancelled.\n"

    ended = terminal.run("watch", job["id"])

    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        f"{job['id']}: queued",
        f"{job['id']}: cancelled",
        f"safelight: {job['id']} was cancelled.",
    ]


def test_a_job_that_is_done_is_not_cancelled(terminal: Terminal, safelight: Stack) -> None:
    job = safelight.final(safelight.submit()["id"])

    assert terminal.refusal("cancel", job["id"]) == f"{job['id']} is completed already."


@pytest.mark.parametrize("name", ["watch", "cancel"])
def test_a_job_that_is_not_there_is_named(terminal: Terminal, name: str) -> None:
    assert terminal.refusal(name, "job_nothing") == "There is no job 'job_nothing'."
    said = terminal.refusal(name, "../images")
    assert said == "'../images' is not the id of a job: one looks like job_01kc3m9w8yq6k0v2t5x7z1b4dn."


def test_jobs_are_a_table_whose_prompts_are_shortened(terminal: Terminal, safelight: Stack) -> None:
    chinese = safelight.submit("红色的\n苹果", model="elsewhere")
    long = safelight.submit("a very long prompt " * 20, model="elsewhere")

    ended = terminal.run("jobs", "--model", "elsewhere", "--status", "queued", "--limit", "2", COLUMNS="90")

    head, first, second = ended.stdout.splitlines()
    assert head.split() == ["ID", "STATUS", "MODEL", "AGE", "PROMPT"]
    assert first.split()[:3] == [long["id"], "queued", "elsewhere"]
    assert first.endswith("…")
    assert len(first) <= 90
    assert second.split()[0] == chinese["id"]
    assert second.endswith("红色的 苹果")
    assert second.index("红") == first.index("a very") == head.index("PROMPT")
    for job in (chinese, long):
        safelight.client.post(f"/v1/jobs/{job['id']}/cancel")


def test_jobs_as_json_are_the_jobs_of_the_api_over_all_pages(terminal: Terminal, safelight: Stack) -> None:
    for _ in range(102):
        safelight.submit(model="elsewhere", expires_after=1)

    printed = [json.loads(line) for line in terminal.run("jobs", "--json", "--limit", "101").stdout.splitlines()]

    assert len(printed) == 101
    first = safelight.client.get("/v1/jobs", params={"limit": 100}).json()
    assert [job["id"] for job in printed[:100]] == [job["id"] for job in first["data"]]
    rest = safelight.client.get("/v1/jobs", params={"limit": 1, "after": first["last_id"]}).json()
    assert printed[100]["id"] == rest["data"][0]["id"]
    assert printed[0].keys() == first["data"][0].keys()
