"""The client commands on broken connections, and `watch`, `jobs` and `cancel`, against a real API."""

import json
import re
import signal
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import pytest

from cli.client import connect
from cli.errors import CommandError
from cli.watch import follow
from tests.cli.terminal import SMALL, Terminal, jobs_like, progress
from tests.cli.wire import Wire
from tests.stack import Stack, closed_port

# A broken connection


def test_a_post_whose_answer_was_lost_is_one_job(terminal: Terminal, safelight: Stack) -> None:
    prompt = f"once {uuid4()}"
    with Wire(safelight.port, lambda requests, _: b"POST /v1/jobs " in requests) as wire:
        result = terminal.run("generate", prompt, *SMALL, "-o", "cat.png", SAFELIGHT_URL=wire.url)

    wire.until_cut()
    assert (result.returncode, result.stdout) == (0, "cat.png\n"), result.stderr
    assert len(jobs_like(safelight, prompt)) == 1


def test_a_broken_stream_goes_on_after_the_last_event(terminal: Terminal, safelight: Stack) -> None:
    answered_before = b""

    def should_cut(_: bytes, answered: bytes) -> bool:
        # Events of the past and the first step can come in one part, which the cut keeps from the client.
        nonlocal answered_before
        has_started, answered_before = b"event: job.started" in answered_before, answered
        return has_started

    with Wire(safelight.port, should_cut) as wire:
        arguments = ("generate", "a cat", "--model", "slow", "--steps", "30", "-o", "cat.png")
        result = terminal.run(*arguments, SAFELIGHT_URL=wire.url)

    wire.until_cut()
    assert (result.returncode, result.stdout) == (0, "cat.png\n"), result.stderr
    lines = progress(result.stderr)
    assert [lines.count(state) for state in ("queued", "generating", "completed")] == [1, 1, 1]
    first, second = re.findall(r"last-event-id: (\d+)", wire.requests)
    assert 0 == int(first) < int(second)


def test_patience_with_an_api_that_went_away_ends(own: Stack) -> None:
    api = own.api()
    job = own.submit(model="elsewhere")
    with connect(own.url, None, retry_seconds=0.0) as client:
        assert next(client.jobs.events(job["id"])).type == "job.queued"
        api.kill()

        with pytest.raises(
            CommandError, match=rf"{job['id']} is not affected: `safelight watch {job['id']}` shows it."
        ):
            follow(client, job["id"])


def test_an_api_without_its_database_is_asked_again_and_quoted_in_the_end(own: Stack) -> None:
    with closed_port() as port, own.apart():
        own.environment["SAFELIGHT_DATABASE_URL"] = f"postgresql://127.0.0.1:{port}/nothing"
        own.api()
        with pytest.raises(CommandError) as caught, connect(own.url, None, retry_seconds=1.5) as client:
            client.jobs.create(prompt="a cat")

    assert str(caught.value) == (
        f"After 1.5 s {own.url} still answers 503 (The database does not answer; nothing was stored, try again)."
    )


def test_a_server_that_is_no_safelight_is_named(terminal: Terminal) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"

        message = terminal.refusal("jobs", "--url", url)
        server.shutdown()

    assert message == f"{url}/v1/jobs answered 404, but not as Safelight: check --url or SAFELIGHT_URL."


def test_an_image_that_was_changed_on_the_storage_is_not_saved(safelight: Stack) -> None:
    job = safelight.final(safelight.submit()["id"])
    (file,) = (safelight.directory / "images").rglob(f"{job['id']}/**/*.png")
    file.write_bytes(file.read_bytes()[:-1] + b"!")

    with pytest.raises(CommandError, match="is damaged"), connect(safelight.url, None) as client:
        client.jobs.retrieve(job["id"]).images[0].download()


# watch, jobs, cancel


def test_watching_shows_a_job_to_its_end_and_links_to_its_images(terminal: Terminal, safelight: Stack) -> None:
    job = safelight.submit(model="slow", steps=60)

    result = terminal.run("watch", job["id"])

    assert progress(result.stderr)[-2:] == ["step 60 of 60", "completed"]
    assert result.stdout.split() == [image["url"] for image in safelight.job(job["id"])["images"]]


def test_ctrl_c_ends_the_watching_and_not_the_job(terminal: Terminal, safelight: Stack, ctrl_c: None) -> None:
    job = safelight.submit(model="slow", steps=1000)
    with terminal.start("watch", job["id"]) as process:
        process.until_says(": generating")
        process.signal(signal.SIGINT)

        assert process.wait() == 130
        process.until_says(f"{job['id']} is still running. `safelight cancel {job['id']}` stops it.")
    assert safelight.job(job["id"])["status"] == "in_progress"
    # A step of 50 ms may end before the answer to the cancel is read.
    answers = {f"{job['id']} is being cancelled: it stops at its next step.\n", f"{job['id']} is cancelled.\n"}
    assert terminal.run("cancel", job["id"]).stdout in answers
    assert safelight.final(job["id"])["status"] == "cancelled"


def test_watching_a_job_that_was_cancelled_says_so(terminal: Terminal, safelight: Stack) -> None:
    job = safelight.submit(model="elsewhere")
    assert terminal.run("cancel", job["id"]).stdout == f"{job['id']} is cancelled.\n"

    result = terminal.run("watch", job["id"])

    assert result.returncode == 1
    assert result.stderr.splitlines() == [
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
    message = terminal.refusal(name, "../images")
    assert message == "'../images' is not the id of a job; an example is job_01kc3m9w8yq6k0v2t5x7z1b4dn."


def test_jobs_are_a_table_whose_prompts_are_shortened(terminal: Terminal, safelight: Stack) -> None:
    chinese = safelight.submit("红色的\n苹果", model="elsewhere")
    long = safelight.submit("a very long prompt " * 20, model="elsewhere")

    result = terminal.run("jobs", "--model", "elsewhere", "--status", "queued", "--limit", "2", COLUMNS="90")

    head, first, second = result.stdout.splitlines()
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

    jobs = [json.loads(line) for line in terminal.run("jobs", "--json", "--limit", "101").stdout.splitlines()]

    assert len(jobs) == 101
    first = safelight.client.get("/v1/jobs", params={"limit": 100}).json()
    assert [job["id"] for job in jobs[:100]] == [job["id"] for job in first["data"]]
    next_page = safelight.client.get("/v1/jobs", params={"limit": 1, "after": first["last_id"]}).json()
    assert jobs[100]["id"] == next_page["data"][0]["id"]
    assert jobs[0].keys() == first["data"][0].keys()
