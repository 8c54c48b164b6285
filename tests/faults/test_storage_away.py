"""The storage fails: the image is generated again, nothing incomplete is shown, and orphans are swept."""

import os
import time
from pathlib import Path

from core.storage import Storage
from tests.processes import Process, python
from tests.stack import Stack
from worker.sweep.cleanup import ORPHAN_AGE, Cleanup


def test_an_image_that_cannot_be_stored_is_tried_again(own: Stack) -> None:
    blocked = own.directory / "images"
    own.api()
    own.worker(SAFELIGHT_RETRY_DELAY="1")
    blocked.mkdir(exist_ok=True)
    (blocked / "jobs").write_text("in the way")
    job = own.submit()
    event = own.until(job["id"], "job.requeued")

    (blocked / "jobs").unlink()

    assert event["data"]["reason"] == "storage_failed"
    final = own.final(job["id"])
    assert (final["status"], final["attempts"]) == ("completed", 2)
    assert own.image(final["images"][0]).startswith(b"\x89PNG")


def test_an_image_is_stored_by_the_same_attempt_once_the_storage_is_back(own: Stack) -> None:
    blocked = own.directory / "images"
    own.api()
    worker = own.worker(SAFELIGHT_STORAGE_RETRY="300")
    blocked.mkdir(exist_ok=True)
    (blocked / "jobs").write_text("in the way")
    job = own.submit()
    worker.until_says("not stored yet")

    (blocked / "jobs").unlink()

    final = own.final(job["id"])
    assert (final["status"], final["attempts"]) == ("completed", 1)
    assert own.image(final["images"][0]).startswith(b"\x89PNG")


def test_files_that_no_job_refers_to_are_swept_and_no_other(own: Stack) -> None:
    own.api()
    own.worker()
    job = own.final(own.submit()["id"])
    storage = Storage(own.settings)
    storage.put("jobs/job_lost/0123/0.png", b"of a superseded attempt", "image/png")
    storage.put("jobs/job_new/4567/0.png", b"of an attempt about to complete", "image/png")
    orphan_time = time.time() - ORPHAN_AGE.total_seconds() - 60
    for path in Path(own.directory, "images").rglob("*.png"):
        if "job_new" not in str(path):
            os.utime(path, (orphan_time, orphan_time))

    cleanup = Cleanup(own.settings)
    cleanup.run_once()
    cleanup.close()

    keys = {item.key for item in storage.list("jobs/")}
    assert "jobs/job_lost/0123/0.png" not in keys
    assert "jobs/job_new/4567/0.png" in keys
    assert own.image(job["images"][0]).startswith(b"\x89PNG")


def test_what_a_killed_writer_left_of_a_file_is_swept(own: Stack) -> None:
    """A directory shows it in no listing; a store of objects never shows it at all."""
    dying = (
        "import os, signal; from core.settings import Settings; from core.storage import Storage; "
        "chunks = (os.kill(os.getpid(), signal.SIGKILL) if n == 30 else bytes(2**20) for n in range(31)); "
        "Storage(Settings()).write('files/file-lost', chunks)"
    )
    with Process("writer", python("-c", dying), own.environment) as writer:
        writer.wait()
    storage = Path(own.directory, "images", "files")
    (partial_file,) = storage.iterdir()
    young = storage / "file-new#1"
    young.write_bytes(b"of a writer at work")
    orphan_time = time.time() - ORPHAN_AGE.total_seconds() - 60
    os.utime(partial_file, (orphan_time, orphan_time))

    cleanup = Cleanup(own.settings)
    cleanup.run_once()
    cleanup.close()

    assert partial_file.name.startswith("file-lost")
    assert (partial_file.exists(), young.exists()) == (False, True)


def test_jobs_past_retention_go_with_their_files(own: Stack) -> None:
    own.api()
    own.worker()
    final = own.final(own.submit()["id"])
    queued_job = own.submit(model="elsewhere")

    cleanup = Cleanup(own.settings.model_copy(update={"retention": own.settings.retry_delay / 1000}))
    cleanup.run_once()
    cleanup.close()

    assert own.client.get(f"/v1/jobs/{final['id']}").status_code == 404
    assert own.job(queued_job["id"])["status"] == "queued"
    assert list(Storage(own.settings).list("jobs/")) == []
