"""`safelight batch` that is interrupted, killed or cut off, and run again: nothing is done twice, nothing is lost."""

import json
import signal
import threading

import pytest
import sqlalchemy as sa

from core.tables import batches
from tests.cli.batches import Prompts, csv_lines, fetched_images, snapshot
from tests.cli.terminal import SMALL, Terminal
from tests.cli.wire import Wire
from tests.processes import Process
from tests.stack import Stack
from tests.waiting import PATIENCE

LAST_WAITS = "custom_id,prompt,model\na,A cat.,fake\nb,A dog.,fake\nc,A cow.,elsewhere\n"
"""Two lines that are drawn at once, and one that waits for a worker of another queue."""

FIRST_WAITS = "custom_id,prompt,model\na,A cat.,elsewhere\nb,A dog.,fake\nc,A cow.,fake\n"


def never(requests: bytes, answered: bytes) -> bool:
    return False


def refuse_last_batch(safelight: Stack) -> None:
    """Fail the newest batch as a whole, as if the sweep could not read its file. It may be retried again."""
    last = sa.select(sa.func.max(batches.c.id)).scalar_subquery()
    error = {"line": None, "code": "invalid_request", "param": None, "message": "Refused."}
    values: dict[str, object] = {
        "status": "failed",
        "errors": [error],
        "counts": {},
        "lease": None,
        "lease_expires_at": None,
        "retried_from": None,
    }
    safelight.database.execute(sa.update(batches).where(batches.c.id == last).values(values))


def test_after_ctrl_c_the_batch_goes_on_and_the_same_command_fetches_what_is_missing(
    terminal: Terminal, safelight: Stack, ctrl_c: None
) -> None:
    prompts = Prompts(terminal, "a.csv", LAST_WAITS)
    with Wire(safelight.port, never) as wire:
        with terminal.start(*prompts.command(*SMALL), SAFELIGHT_URL=wire.url) as process:
            process.until_says("in_progress 2 of 3 lines")
            process.signal(signal.SIGINT)
            assert process.wait() == 130
        (batch,) = prompts.batches(safelight)
        process.until_says(
            f"{batch['id']} goes on: `safelight batch --out {prompts.out}` goes on from here. "
            f"`safelight batches cancel {batch['id']}` stops it."
        )
        assert batch["status"] == "in_progress"

        with safelight.apart():
            safelight.worker("other", queue="nobody")
            result = terminal.run(*prompts.command(*SMALL), SAFELIGHT_URL=wire.url)

        assert (result.returncode, result.stdout) == (0, f"{prompts.out}/manifest.csv\n"), result.stderr
        assert prompts.images() == ["a-0.png", "b-0.png", "c-0.png"]
        assert len(prompts.batches(safelight)) == 1
        requests = fetched_images(wire.requests)
        assert (len(requests), len(set(requests))) == (3, 3)

    before = snapshot(prompts.out)
    second_result = terminal.run("batch", "--out", str(prompts.out))
    assert second_result.returncode == 0
    assert f"Images in {prompts.out}: 3, 3 of them from an earlier run." in second_result.stderr
    assert {name: before[name] for name in prompts.images()} == {
        name: snapshot(prompts.out)[name] for name in prompts.images()
    }


def test_a_batch_that_fails_after_its_lines_have_run_is_not_generated_again(
    terminal: Terminal, safelight: Stack
) -> None:
    prompts = Prompts(terminal, "a.txt", "A cat.\n")
    assert terminal.run(*prompts.command(*SMALL)).returncode == 0
    (batch,) = prompts.batches(safelight)
    # as if its output files could not be written
    failure = "UPDATE batches SET status = 'failed', errors = CAST(:errors AS jsonb) WHERE id = :id"
    errors = json.dumps([{"line": None, "code": "batch_processing_failed", "param": None, "message": "It failed."}])
    safelight.database.execute(sa.text(failure).bindparams(id=batch["id"], errors=errors))

    for _ in range(2):
        assert f"{batch['id']} failed after its lines had run" in terminal.run(*prompts.command(*SMALL)).stderr
    assert [item["id"] for item in prompts.batches(safelight)] == [batch["id"]]


def test_lines_that_overtake_the_first_are_fetched_while_it_waits(terminal: Terminal, safelight: Stack) -> None:
    prompts = Prompts(terminal, "a.csv", FIRST_WAITS)
    images, two_came = set[str](), threading.Event()

    def note(requests: bytes, answered: bytes) -> bool:
        images.update(fetched_images(requests.decode()))
        if len(images) == 2:
            two_came.set()
        return False

    with (
        Wire(safelight.port, note) as wire,
        terminal.start(*prompts.command(*SMALL), SAFELIGHT_URL=wire.url) as process,
        safelight.apart(),
    ):
        assert two_came.wait(PATIENCE), process.output()
        safelight.worker("other", queue="nobody")
        assert process.wait() == 0, process.output()
        requests = fetched_images(wire.requests)

    assert prompts.images() == ["a-0.png", "b-0.png", "c-0.png"]
    assert (len(requests), len(set(requests))) == (3, 3)


def test_ctrl_c_cancels_if_asked_to_and_a_retry_draws_what_was_left(
    terminal: Terminal, safelight: Stack, ctrl_c: None
) -> None:
    prompts = Prompts(terminal, "a.csv", LAST_WAITS)
    with terminal.start(*prompts.command(*SMALL, "--cancel-on-interrupt")) as process:
        process.until_says("in_progress 2 of 3 lines")
        process.signal(signal.SIGINT)
        assert process.wait() == 130
        # Its status is that of the moment: a worker or the sweep may be faster than the answer.
        process.until_says(f": `safelight batch --out {prompts.out}` goes on from here.")
    (batch,) = prompts.batches(safelight)
    assert batch["cancelling_at"]

    result = terminal.run("batch", "--out", str(prompts.out))

    assert result.returncode == 3
    assert "is cancelled: 2 of 3 lines completed." in result.stderr
    assert prompts.images() == ["a-0.png", "b-0.png"]
    with terminal.start("batch", "--out", str(prompts.out), "--retry-failed") as process:
        process.until_says("in_progress 0 of 1 line,")
        refuse_last_batch(safelight)
        assert process.wait() == 1
        assert "was refused, and its lines were not generated again." in process.output()
    assert prompts.images() == ["a-0.png", "b-0.png"]
    with safelight.apart():
        safelight.worker("other", queue="nobody")
        retried = terminal.run("batch", "--out", str(prompts.out), "--retry-failed")
    assert (retried.returncode, retried.stdout) == (0, f"{prompts.out}/manifest.csv\n"), retried.stderr
    assert "is completed: 3 of 3 lines completed." in retried.stderr
    assert prompts.images() == ["a-0.png", "b-0.png", "c-0.png"]
    assert [(row["custom_id"], row["status"]) for row in prompts.manifest()] == [(id_, "completed") for id_ in "abc"]
    assert not (prompts.out / "errors.jsonl").exists()


def test_killed_before_the_answer_to_its_post_it_comes_back_to_the_same_batch(
    terminal: Terminal, safelight: Stack
) -> None:
    prompts = Prompts(terminal, "a.csv", csv_lines(3))
    processes: list[Process] = []

    def kill_after_the_post(requests: bytes, answered: bytes) -> bool:
        if b"POST /v1/batches " not in requests:
            return False
        processes[0].kill()
        return True

    with Wire(safelight.port, kill_after_the_post) as wire:
        arguments = prompts.command("--url", wire.url)
        processes.append(terminal.start(*arguments))
        with processes[0] as process:
            process.wait()
        wire.until_cut()
        assert len(prompts.batches(safelight)) == 1

        result = terminal.run(*arguments)

    assert result.returncode == 0, result.stderr
    assert len(prompts.batches(safelight)) == 1
    assert prompts.images() == ["line-00002-cat-0-0.png", "line-00003-cat-1-0.png", "line-00004-cat-2-0.png"]


def test_killed_in_the_middle_of_an_image_it_leaves_none_that_is_not_whole(
    terminal: Terminal, safelight: Stack
) -> None:
    prompts = Prompts(terminal, "a.csv", csv_lines(3))
    processes: list[Process] = []

    def kill_within_an_image(requests: bytes, answered: bytes) -> bool:
        if b"/content " not in requests or b"\x89PNG" not in answered:
            return False
        processes[0].kill()
        return True

    with Wire(safelight.port, kill_within_an_image) as wire:
        processes.append(terminal.start(*prompts.command("--url", wire.url)))
        with processes[0] as process:
            process.wait()
        wire.until_cut()

        result = terminal.run(*prompts.command("--url", wire.url))

    assert result.returncode == 0, result.stderr
    assert prompts.images() == ["line-00002-cat-0-0.png", "line-00003-cat-1-0.png", "line-00004-cat-2-0.png"]
    assert len(prompts.batches(safelight)) == 1


def test_an_image_that_was_damaged_meanwhile_is_fetched_again(terminal: Terminal) -> None:
    prompts = Prompts(terminal, "a.csv", csv_lines(2))
    assert terminal.run(*prompts.command()).returncode == 0
    content = (prompts.out / "line-00002-cat-0-0.png").read_bytes()
    (prompts.out / "line-00002-cat-0-0.png").write_bytes(content[:-1] + b"!")
    (prompts.out / "line-00003-cat-1-0.png").unlink()

    result = terminal.run(*prompts.command())

    assert result.returncode == 0, result.stderr
    assert (prompts.out / "line-00002-cat-0-0.png").read_bytes() == content
    assert prompts.images() == ["line-00002-cat-0-0.png", "line-00003-cat-1-0.png"]


def test_an_image_under_the_name_of_an_earlier_version_is_renamed(terminal: Terminal, safelight: Stack) -> None:
    prompts = Prompts(terminal, "a.csv", csv_lines(2))
    assert terminal.run(*prompts.command()).returncode == 0
    first, second = (prompts.out / name for name in prompts.images())
    content = first.read_bytes()
    first.rename(prompts.out / "line-2-0.png")
    second.rename(prompts.out / "line-3-0.png")
    (prompts.out / "line-3-0.png").write_bytes(b"dear to me")

    with Wire(safelight.port, never) as wire:
        result = terminal.run("batch", "--out", str(prompts.out), SAFELIGHT_URL=wire.url)

    assert result.returncode == 0, result.stderr
    assert prompts.images() == [first.name, second.name, "line-3-0.png"]
    assert first.read_bytes() == content
    assert (prompts.out / "line-3-0.png").read_bytes() == b"dear to me"
    assert len(fetched_images(wire.requests)) == 1


def test_an_image_that_cannot_be_written_ends_it_and_says_how_to_go_on(terminal: Terminal) -> None:
    prompts = Prompts(terminal, "a.csv", csv_lines(2))
    assert terminal.run(*prompts.command("--detach")).returncode == 0
    (prompts.out / "line-00002-cat-0-0.png").mkdir()

    result = terminal.run("batch", "--out", str(prompts.out))

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == (
        f"safelight: {prompts.out}/line-00002-cat-0-0.png cannot be read (Is a directory). "
        f"`safelight batch --out {prompts.out}` goes on from here."
    )
    (prompts.out / "line-00002-cat-0-0.png").rmdir()
    assert terminal.run("batch", "--out", str(prompts.out)).returncode == 0
    assert prompts.images() == ["line-00002-cat-0-0.png", "line-00003-cat-1-0.png"]


def test_a_server_that_is_replaced_in_the_middle_is_waited_for(terminal: Terminal, own: Stack) -> None:
    prompts = Prompts(terminal, "a.csv", LAST_WAITS)
    api = own.api()
    own.worker()
    own.sweep()
    with terminal.start(*prompts.command(*SMALL), SAFELIGHT_URL=own.url) as process:
        process.until_says("in_progress 2 of 3 lines")
        api.kill()
        process.until_says("trying again for up to 600 s.")
        own.api()
        own.worker("other", queue="nobody")
        assert process.wait() == 0, process.output()
    assert prompts.images() == ["a-0.png", "b-0.png", "c-0.png"]
    assert len(prompts.batches(own)) == 1


def test_a_directory_is_held_by_one_command_at_a_time(terminal: Terminal, safelight: Stack) -> None:
    prompts = Prompts(terminal, "a.csv", LAST_WAITS)
    with terminal.start(*prompts.command(*SMALL)) as process:
        process.until_says("in_progress")

        message = terminal.refusal(*prompts.command(*SMALL))

    assert message == f"Another `safelight batch` is writing to {prompts.out}."
    (batch,) = prompts.batches(safelight)
    safelight.client.post(f"/v1/batches/{batch['id']}/cancel")


@pytest.mark.parametrize("where", [["--out", "images"], []])
def test_detached_it_prints_the_id_and_is_come_back_to(terminal: Terminal, safelight: Stack, where: list[str]) -> None:
    prompts = Prompts(terminal, "a.csv", csv_lines(2))
    mark = f"mark={prompts.mark}"

    result = terminal.run("batch", str(prompts.file), *where, "--metadata", mark, "--detach")

    (batch,) = prompts.batches(safelight)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{batch['id']}\n", "")
    attached = terminal.run("batch", "--batch", batch["id"], "--out", "images")
    assert attached.returncode == 0, attached.stderr
    assert prompts.images() == ["line-00002-cat-0-0.png", "line-00003-cat-1-0.png"]
