"""The logs of all processes have one format, name what they concern, and hold no secret."""

import json
from typing import Any

from core.tables import DEFAULT_PROJECT
from tests.processes import Process
from tests.stack import Stack
from tests.waiting import until

PROMPT = "a very secret aardvark"


def lines_of(process: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.output().splitlines()]


def test_every_process_writes_json_and_a_job_can_be_followed(own: Stack) -> None:
    own.environment["SAFELIGHT_LOG_FORMAT"] = "json"
    api, worker, sweep, deliver = own.api(), own.worker(), own.sweep(), own.deliver()
    headers = {"x-request-id": "trace-4711"}

    answer = own.client.post("/v1/jobs", json={"prompt": PROMPT, "size": "64x64"}, headers=headers)
    keyed = own.client.post(
        "/v1/jobs", json={"prompt": PROMPT, "size": "64x64"}, headers=headers | {"idempotency-key": "once"}
    )
    batch = own.client.post("/v1/batches", json={"prompts": [PROMPT], "size": "64x64"}, headers=headers).json()
    jobs = [own.final(response.json()["id"]) for response in (answer, keyed)]
    until(lambda: batch["id"] in worker.output())
    sweep.until_says("sweeping every")
    deliver.until_says("delivering")

    for job in jobs:
        for process in (api, worker):
            ids = {
                (line.get("request_id"), line["project_id"])
                for line in lines_of(process)
                if line.get("job_id") == job["id"]
            }
            assert ids == {("trace-4711", DEFAULT_PROJECT)}, process.name
    assert any(line.get("batch_id") == batch["id"] for line in lines_of(api))
    (of_batch,) = [line for line in lines_of(worker) if line.get("batch_id") == batch["id"]]
    assert of_batch["request_id"] == "trace-4711"
    assert all(line["worker"].endswith(f":{worker.pid}") for line in lines_of(worker))
    for process in (api, worker, sweep, deliver):
        assert lines_of(process)
        assert "__main__" not in process.output()
        assert PROMPT not in process.output()
