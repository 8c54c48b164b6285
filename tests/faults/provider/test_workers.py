"""Workers that die, freeze, stop or lose the storage during a call to OpenAI: no call is repeated unasked."""

import pytest
import sqlalchemy as sa

from core.tables import images, paid_images
from tests.faults.provider.calls import CALLED, a_worker, reasons, row, submit
from tests.openai_stub import OpenAIStub, Way
from tests.stack import Stack
from tests.waiting import until
from worker.sweep.cleanup import Cleanup


@pytest.mark.parametrize("retry", [False, True])
def test_a_worker_killed_in_mid_call_leaves_no_call_that_is_repeated_unasked(
    service: Stack, openai: OpenAIStub, retry: bool
) -> None:
    count = 8
    victim = a_worker(service, "victim", count)
    job_ids = [submit(service, f"[held] a cat, number {number}") for number in range(count)]
    openai.until(count)

    victim.kill()
    openai.release()
    a_worker(service, "heir", count, SAFELIGHT_OPENAI_RETRY_UNKNOWN=str(retry))
    finals = [service.final(job_id) for job_id in job_ids]

    calls = service.database.execute(CALLED)
    print(
        f"\n{count} calls under way at kill -9, retry {retry}: {len(openai.received)} requests, {openai.billed} billed"
    )
    assert [call.outcome for call in calls[:count]] == ["abandoned"] * count
    if retry:
        assert [final["status"] for final in finals] == ["completed"] * count
        assert len(openai.received) == len(calls) == 2 * count
    else:
        assert {final["error"]["code"] for final in finals} == {"provider_outcome_unknown"}
        assert len(openai.received) == len(calls) == count


def test_a_frozen_worker_that_wakes_records_what_its_call_cost_and_changes_nothing_else(
    service: Stack, openai: OpenAIStub
) -> None:
    frozen = a_worker(service, "frozen")
    job_id = submit(service, "[held] a cat")
    openai.until(1)

    frozen.freeze()
    a_worker(service, "heir")
    final = service.final(job_id)
    before = row(service, job_id)
    openai.release()
    frozen.thaw()
    frozen.terminate()  # its call is waited for

    (call,) = service.database.execute(CALLED)
    assert final["error"]["code"] == "provider_outcome_unknown"
    assert row(service, job_id) == before
    assert (call.outcome, call.cost_usd is not None) == ("succeeded", True)
    assert service.count(images) == 0
    assert len(openai.received) == 1


def test_a_call_longer_than_lease_and_stall_timeout_is_kept(service: Stack, openai: OpenAIStub) -> None:
    a_worker(service)
    longest = max(service.settings.lease, service.settings.stall_timeout).total_seconds()
    openai.way = lambda _: Way(draws=True, seconds=1.2 * longest)

    final = service.final(submit(service, "a cat"))

    assert (final["status"], final["attempts"], len(openai.received)) == ("completed", 1, 1)


def test_images_that_were_paid_for_are_stored_once_the_store_is_back(service: Stack, openai: OpenAIStub) -> None:
    blocked = service.directory / "images"
    blocked.mkdir(exist_ok=True)
    (blocked / "jobs").write_text("in the way")
    worker = a_worker(service, SAFELIGHT_STORAGE_RETRY="300")
    job_id = submit(service, "a cat")
    worker.until_says("not stored yet")

    (blocked / "jobs").unlink()

    final = service.final(job_id)
    assert (final["status"], final["attempts"], len(openai.received)) == ("completed", 1, 1)
    assert service.image(final["images"][0]).startswith(b"\x89PNG")


def test_images_that_were_paid_for_and_cannot_be_saved_are_tried_until_they_are_stored(
    service: Stack, openai: OpenAIStub
) -> None:
    blocked = service.directory / "images"
    blocked.mkdir(exist_ok=True)
    (blocked / "jobs").write_text("in the way")
    service.database.execute(sa.text("ALTER TABLE paid_images ADD CONSTRAINT refusal CHECK (false) NOT VALID"))
    worker = a_worker(service, SAFELIGHT_STORAGE_RETRY="0.1")
    job_id = submit(service, "a cat")
    until(lambda: worker.output().count("not stored yet") >= 2 or service.job(job_id)["finished_at"])

    (blocked / "jobs").unlink()
    final = service.final(job_id)
    service.database.execute(sa.text("ALTER TABLE paid_images DROP CONSTRAINT refusal"))

    assert (final["status"], final["attempts"], len(openai.received)) == ("completed", 1, 1)


def test_images_that_were_paid_for_outlive_their_worker(service: Stack, openai: OpenAIStub) -> None:
    blocked = service.directory / "images"
    blocked.mkdir(exist_ok=True)
    (blocked / "jobs").write_text("in the way")
    victim = a_worker(service, "victim")
    job_id = submit(service, "a cat", n=2)
    victim.until_says("not stored yet")
    until(lambda: "storage_failed" in reasons(service, job_id))

    victim.kill()
    (blocked / "jobs").unlink()
    a_worker(service, "heir")

    final = service.final(job_id)
    assert (final["status"], len(final["images"]), len(openai.received)) == ("completed", 2, 1)
    assert row(service, job_id).failures == 0
    receipts = [image["receipt"] for image in final["images"]]
    assert {receipt["provider_request_id"] for receipt in receipts} == {"req_1"}
    assert service.image(final["images"][1]).startswith(b"\x89PNG")
    cleanup = Cleanup(service.settings)
    cleanup.run_once()
    cleanup.close()
    assert service.count(paid_images) == 0


def test_images_that_were_paid_for_are_stored_although_the_record_of_their_call_is_refused(
    service: Stack, openai: OpenAIStub
) -> None:
    constraint = "ALTER TABLE provider_calls ADD CONSTRAINT refusal CHECK (outcome IS NULL OR outcome = 'abandoned')"
    service.database.execute(sa.text(constraint))
    a_worker(service)

    final = service.final(submit(service, "a cat"))
    until(lambda: service.database.execute(CALLED)[0].outcome == "abandoned")
    service.database.execute(sa.text("ALTER TABLE provider_calls DROP CONSTRAINT refusal"))

    assert (final["status"], final["attempts"], len(openai.received)) == ("completed", 1, 1)
    assert service.image(final["images"][0]).startswith(b"\x89PNG")


def test_images_lost_between_answer_and_store_are_not_paid_for_again(service: Stack, openai: OpenAIStub) -> None:
    blocked = service.directory / "images"
    blocked.mkdir(exist_ok=True)
    (blocked / "jobs").write_text("in the way")
    victim = a_worker(service, "victim", SAFELIGHT_STORAGE_RETRY="300")
    job_id = submit(service, "a cat")
    victim.until_says("not stored yet")

    victim.kill()
    service.database.execute(sa.delete(paid_images))  # as if it had died before it could save them
    (blocked / "jobs").unlink()
    a_worker(service, "heir")

    assert service.final(job_id)["error"]["code"] == "provider_answer_lost"
    assert len(openai.received) == 1


def test_a_wish_to_stop_drops_the_answer_of_a_call_under_way_and_records_its_cost(
    service: Stack, openai: OpenAIStub
) -> None:
    worker = a_worker(service)
    job_id = submit(service, "[held] a cat")
    openai.until(1)

    service.client.post(f"/v1/jobs/{job_id}/cancel")
    final = service.final(job_id)
    openai.release()
    worker.terminate()

    (call,) = service.database.execute(CALLED)
    assert final["status"] == "cancelled"
    assert (call.outcome, call.cost_usd is not None) == ("succeeded", True)
    assert service.count(images) == 0


def test_a_worker_that_gets_sigterm_waits_for_its_call(service: Stack, openai: OpenAIStub) -> None:
    worker = a_worker(service, SAFELIGHT_DRAIN_TIMEOUT="0.5")
    openai.way = lambda _: Way(draws=True, seconds=2.0)
    job_id = submit(service, "a cat")
    openai.until(1)

    assert worker.terminate() == 0

    assert service.job(job_id)["status"] == "completed"


def test_a_worker_that_gets_sigterm_waits_for_the_call_of_its_second_thread_too(
    service: Stack, openai: OpenAIStub
) -> None:
    openai.way = lambda request: Way(draws=True, seconds=1.5 if request.prompt == "soon" else 4.0)
    worker = a_worker(service, concurrency=1)
    job_ids = [submit(service, prompt) for prompt in ("soon", "later")]
    openai.until(2)  # one by the thread, one by the thread that looks for waiting jobs

    assert worker.terminate() == 0

    assert [service.job(job_id)["status"] for job_id in job_ids] == ["completed"] * 2
