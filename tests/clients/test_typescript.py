"""`make clients`: the TypeScript client in `clients/typescript`, built by tsc, against a real Safelight."""

import json
import os
import re
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

import core
from core.outbox.signing import new_secret
from tests.cli.terminal import jobs_like
from tests.cli.wire import BROKEN, ERROR_EVENT, REVOKED, STREAM, FixedServer, Wire
from tests.images import an_image, encode
from tests.receiver import Receiver
from tests.stack import Stack, closed_port

CLIENT = Path(core.__file__).parent.parent / "clients" / "typescript"
BUILD_SECONDS, RUN_SECONDS = 600, 300

STORY = """
import assert from "node:assert/strict";
import {
  AuthenticationFailed, BadRequest, ConnectionFailed, JobFailed, Safelight, SignatureInvalid, unwrap,
} from "safelight-client";

const client = new Safelight();
const job = await client.jobs.create({ prompt: "a cat", size: "64x64", model: "slow", steps: 4, partial_images: 1 });
const events = [];
for await (const event of job.events()) events.push(event);
const types = events.filter((event) => event.id).map((event) => event.type);
assert.deepEqual(types, ["job.queued", "job.started", "job.completed"]);
assert.ok(events.some((event) => event.preview?.media_type === "image/webp"));
const [image] = events.at(-1)!.job!.images;
assert.equal((await image!.download()).length, image!.bytes);

const waiting = await client.jobs.create({ prompt: "a dog", model: "elsewhere", metadata: { story: "ts" } });
const listed = [];
for await (const item of client.jobs.list({ metadata: { story: "ts" }, limit: 1 })) listed.push(item.id);
assert.deepEqual(listed, [waiting.id]);
assert.equal((await waiting.cancel()).status, "cancelled");
await assert.rejects(waiting.wait(), JobFailed);
await assert.rejects(
  client.jobs.create({ prompt: "a cat", size: "1x1" }),
  (error: unknown) => error instanceof BadRequest && error.param === "size" && error.requestId !== null,
);
await assert.rejects(new Safelight({ baseURL: process.env["CLOSED_URL"]! }).models(), ConnectionFailed);

const prompt = "a cat\\u2028on\\u2029a\\u0085sofa"; // line separators of Unicode
const finals = [];
for await (const event of (await client.jobs.create({ prompt, size: "64x64" })).events()) finals.push(event.job);
assert.equal(finals.at(-1)!.prompt, prompt);
const broken = new Safelight({ baseURL: process.env["BROKEN_URL"]!, retrySeconds: 1 });
await assert.rejects(broken.files.content("file-1"), ConnectionFailed);
const revoked = new Safelight({ baseURL: process.env["REVOKED_URL"]! });
await assert.rejects(revoked.batches.events("batch_1").next(), AuthenticationFailed);

const file = new File(["prompt,custom_id\\na cat,cat\\n[refuse],no\\n"], "prompts.csv");
assert.equal((await client.batches.dryRun({ file })).images, 2);
let batch = await client.batches.create({ file, size: "64x64" });
batch = await batch.wait({ check: false });
assert.equal(batch.request_counts.completed, 1);
assert.ok((await batch.zip()).length > 100);
assert.equal((await batch.retry()).retried_from, batch.id);

const once = new Safelight({ baseURL: process.env["CUT_URL"]! });
await once.jobs.create({ prompt: process.env["PROMPT"]!, size: "64x64" });

const { headers, body, secret } = JSON.parse(process.env["DELIVERY"]!);
assert.equal((await unwrap(body, headers, secret)).type, "job.completed");
await assert.rejects(unwrap(body + " ", headers, secret), SignatureInvalid);
await assert.rejects(unwrap(body, { ...headers, "webhook-timestamp": "1" }, secret), SignatureInvalid);
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a program, with the built client in it as a package."""
    run(CLIENT, "npm", "ci", "--no-audit", "--no-fund")
    run(CLIENT, "npm", "run", "build")
    folder = tmp_path_factory.mktemp("typescript")
    (folder / "package.json").write_text(json.dumps({"type": "module"}))
    run(folder, "npm", "install", "--no-audit", "--no-fund", "--install-links", str(CLIENT), "@types/node@22")
    options = {"target": "ES2022", "module": "NodeNext", "strict": True, "types": ["node"], "lib": ["ES2022", "DOM"]}
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["*.ts"]}))
    return folder


def run(folder: Path, *command: str, **variables: str) -> None:
    environment = {**os.environ, **variables}
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


def compile_programs(folder: Path) -> None:
    run(folder, str(CLIENT / "node_modules" / ".bin" / "tsc"), "--project", ".")


@pytest.mark.clients
def test_a_story_of_jobs_batches_and_webhooks(safelight: Stack, built: Path) -> None:
    prompt = f"once {uuid4()}"
    with (
        Receiver() as receiver,
        closed_port() as port,
        FixedServer([BROKEN] * 4) as broken,
        FixedServer([STREAM + ERROR_EVENT, REVOKED]) as revoked,
        Wire(safelight.port, lambda requests, _: b"POST /v1/jobs " in requests) as wire,
    ):
        secret = new_secret()
        safelight.submit(webhook={"url": receiver.url(), "events": ["job.completed"], "secret": secret})
        (request,) = receiver.until(1)
        delivery = {"headers": request.headers, "body": request.body.decode(), "secret": secret}
        (built / "story.ts").write_text(STORY)
        compile_programs(built)
        run(
            built, "node", "story.js",
            SAFELIGHT_URL=safelight.url, CUT_URL=wire.url, CLOSED_URL=f"http://127.0.0.1:{port}", PROMPT=prompt,
            DELIVERY=json.dumps(delivery), BROKEN_URL=broken.url, REVOKED_URL=revoked.url,
        )  # fmt: skip
        wire.until_cut()
        assert broken.count < 4
    assert len(jobs_like(safelight, prompt)) == 1


@pytest.mark.clients
def test_the_programs_of_the_readme_run(safelight: Stack, built: Path) -> None:
    programs = re.findall(r"```ts\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
    (built / "room.png").write_bytes(encode(an_image()))
    for number, program in enumerate(programs):
        (built / f"readme{number}.ts").write_text(program)
    compile_programs(built)

    for number in range(len(programs)):
        run(built, "node", f"readme{number}.js", SAFELIGHT_URL=safelight.url)

    assert {"cat.png", "sofa.png", "images.zip"} <= {path.name for path in built.iterdir()}
