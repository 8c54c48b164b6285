"""Jobs that share a micro-batch."""

import sqlalchemy as sa

from core.tables import images, jobs
from tests.stack import Stack


def test_two_jobs_share_a_pass_and_each_gets_its_own_seeds_image(own: Stack) -> None:
    own.api()
    together = [own.submit("a cat", seed=1), own.submit("a dog", seed=2, n=2)]
    own.worker()
    finals = [own.final(job["id"]) for job in together]

    alone = [own.final(own.submit("a cat", seed=1)["id"])]
    alone.append(own.final(own.submit("a dog", seed=2, n=2)["id"]))

    assert [image["receipt"]["microbatch"] for job in finals for image in job["images"]] == [3, 3, 3]
    assert [image["receipt"]["microbatch"] for job in alone for image in job["images"]] == [1, 2, 2]
    assert [image["sha256"] for job in finals for image in job["images"]] == [
        image["sha256"] for job in alone for image in job["images"]
    ]


def test_jobs_of_other_sizes_do_not_share_a_pass(own: Stack) -> None:
    own.api()
    jobs = [own.submit(size=size) for size in ("64x64", "128x128", "64x64")]
    own.worker()

    sizes = [own.final(job["id"])["images"][0] for job in jobs]

    assert [(image["width"], image["receipt"]["microbatch"]) for image in sizes] == [(64, 2), (128, 1), (64, 2)]


def test_one_bad_job_of_a_micro_batch_fails_alone(own: Stack) -> None:
    own.api()
    jobs = [own.submit(prompt) for prompt in ("a cat", "[refuse] this", "a dog")]
    own.worker()

    cat, bad, dog = (own.final(job["id"]) for job in jobs)

    assert [cat["status"], bad["status"], dog["status"]] == ["completed", "failed", "completed"]
    assert bad["error"]["code"] == "generation_failed"
    assert bad["attempts"] == 1


def test_a_failing_job_is_tried_as_often_as_allowed(own: Stack) -> None:
    own.api()
    own.worker()
    job = own.submit("[fail] please")

    final = own.final(job["id"])

    assert (final["status"], final["attempts"], final["error"]["code"]) == ("failed", 3, "generator_failed")
    kinds = [kind for kind, _ in own.events(job["id"]) if kind != "job.progress"]
    assert kinds == ["job.queued", *["job.started", "job.requeued"] * 2, "job.started", "job.failed"]


def test_running_out_of_memory_halves_the_pass_and_fails_only_what_never_fits(own: Stack) -> None:
    own.api()
    jobs = [own.submit(prompt) for prompt in ("[oom] a", "[oom] b", "[oom] c", "[oom always] d")]
    own.worker()

    finals = [own.final(job["id"]) for job in jobs]

    assert [job["status"] for job in finals] == ["completed", "completed", "completed", "failed"]
    assert finals[3]["error"]["code"] == "out_of_memory"
    assert [job["attempts"] for job in finals] == [1, 1, 1, 1]


def test_results_of_a_micro_batch_share_a_transaction_and_fail_alone(own: Stack) -> None:
    own.database.execute(sa.text("ALTER TABLE images ADD CONSTRAINT no_seven CHECK (seed <> 7) NOT VALID"))
    own.api()
    prompts = ("a cat", "[refuse] this", "a dog", "a cow", "a fox", "a hen")
    together = [own.submit(prompt, seed=seed) for seed, prompt in enumerate(prompts)]
    with_a_refusal = [own.submit(size="128x128", seed=seed) for seed in (6, 7, 8)]
    own.worker()

    finals = [own.final(job["id"]) for job in (*together, *with_a_refusal)]

    # The number of the transaction that wrote a row last.
    rows = own.database.execute(sa.select(jobs.c.id, sa.literal_column("jobs.xmin::text").label("transaction")))
    numbers = {row.id: row.transaction for row in rows}
    assert len({numbers[job["id"]] for job in together}) < len(together)
    codes = [job["error"] and job["error"]["code"] for job in finals]
    assert codes == [None, "generation_failed", None, None, None, None, None, "storage_failed", None]
    assert own.count(images) == 7
