"""The studio: its page and files, signing in, and the calls that it needs. `test_studio_browser.py` uses it."""

import json
import posixpath
import re
from collections.abc import Iterator
from io import BytesIO
from typing import get_args

import httpx
import pytest
from PIL import Image

from api.queue_stats import State as QueueState
from api.studio.assets import DIRECTORY, Assets
from core import keys, queries
from core.errors import QueueDraining
from core.pauses import State as AdminState
from core.scopes import Scope
from tests.factories import a_key
from tests.stack import Stack, body
from tests.waiting import PATIENCE, until

OWN = {"sec-fetch-site": "same-origin"}
MAX_FIRST_LOAD = 200_000
"""Bytes of the files that the first view loads, without compression."""

MAX_ALL = 120_000
"""Bytes of all files, as they are sent."""


@pytest.fixture
def visitor(guarded: Stack) -> Iterator[httpx.Client]:
    """A browser that has opened the page, as far as its requests go."""
    with httpx.Client(base_url=guarded.url, headers=OWN | {"origin": guarded.url}, timeout=PATIENCE) as client:
        yield client


def test_the_page_loads_only_its_own_small_files_for_ever(safelight: Stack) -> None:
    page = safelight.client.get("/")
    files = re.findall(r'(?:href|src)="(studio/[^"]+)"', page.text)
    answers = {name: safelight.client.get(f"/{name}") for name in files}
    version = files[0].split("/")[1]

    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in page.headers["content-security-policy"]
    assert not re.search(r"<script>|<style|style=|\son\w+=|https?://", page.text)
    assert {answer.status_code for answer in answers.values()} == {200}
    assert all("immutable" in answer.headers["cache-control"] for answer in answers.values())
    assert answers[f"studio/{version}/app.js"].headers["content-encoding"] == "gzip"
    loaded = _files_of_the_first_view()
    assert "views/batch.js" not in loaded
    assert sum(len(Assets().files[path].content) for path in loaded) < MAX_FIRST_LOAD
    assert sum(len(asset.gzip) for asset in Assets().files.values()) < MAX_ALL
    assert safelight.client.get(f"/studio/{'0' * 12}/app.js").status_code == 404
    assert safelight.client.get("/", headers={"if-none-match": page.headers["etag"]}).status_code == 304


def _files_of_the_first_view() -> set[str]:
    """What the page names, the modules that these import, and the view `create`."""
    loaded, pending = {"studio.css", "icon.svg", "start.js"}, ["app.js", "views/create.js"]
    while pending:
        path = pending.pop()
        if path not in loaded:
            loaded.add(path)
            imports = re.findall(r'^import .* from "([^"]+)"', (DIRECTORY / path).read_text("utf-8"), re.M)
            pending += [posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) for name in imports]
    return loaded


def test_all_texts_are_there_in_both_languages() -> None:
    tables = [(DIRECTORY / "text" / f"{name}.js").read_text("utf-8") for name in ("en", "zh")]
    english, chinese = (re.findall(r'^  "([\w.]+)":', table, re.M) for table in tables)
    sources = "".join(
        path.read_text("utf-8") for path in DIRECTORY.rglob("*.js") if path.parent.name not in ("text", "vendor")
    )

    assert english == chinese
    assert set(re.findall(r'\bt\("([\w.]+)"', sources)) <= set(english)
    for line, translation in zip(*(re.findall(r'^  "[\w.]+": (.*),$', table, re.M) for table in tables), strict=True):
        assert set(re.findall(r"{\w+}", line)) == set(re.findall(r"{\w+}", translation)), line


def test_every_state_of_a_queue_or_worker_has_a_text_and_a_chip() -> None:
    english = (DIRECTORY / "text" / "en.js").read_text("utf-8")
    keys_of_texts = set(re.findall(r'^  "([\w.]+)":', english, re.M))  # those of both languages: see above
    chips = {name: _chips_of(name) for name in ("operator", "models")}
    operator_states, queue_states = get_args(AdminState), set(get_args(QueueState))

    assert {f"operator.state.{state}" for state in operator_states} <= keys_of_texts
    assert {f"model.state.{state}" for state in queue_states} <= keys_of_texts
    assert {f"model.state.{state}.text" for state in queue_states - {"ready"}} <= keys_of_texts
    assert (chips["operator"], chips["models"]) == (set(operator_states), queue_states)
    assert f"advice.{QueueDraining.code}" in keys_of_texts


def _chips_of(view: str) -> set[str]:
    """The states that a view has a chip for."""
    source = (DIRECTORY / "views" / f"{view}.js").read_text("utf-8")
    line = re.search(r"^const CHIPS = {(.*)};$", source, re.M)
    assert line is not None
    return set(re.findall(r"(\w+):", line[1]))


def test_a_key_signs_in_and_its_cookie_works_for_the_own_page_only(guarded: Stack, visitor: httpx.Client) -> None:
    key = a_key(guarded.database)
    before = body(visitor.get("/studio/session"))
    answer = visitor.post("/studio/session", json={"key": key})
    cookie = answer.headers["set-cookie"]
    session = body(visitor.get("/studio/session"))
    job = visitor.post("/v1/jobs", json={"prompt": "a cat", "size": "64x64"})

    assert before == {"needs_key": True, "project_id": None, "key_id": None, "scopes": []}
    assert answer.status_code == 200
    assert key not in cookie
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/"))
    assert (session["needs_key"], session["project_id"]) == (True, "proj_default")
    assert job.status_code == 202
    assert visitor.get("/v1/jobs").status_code == 200

    value = visitor.cookies["safelight_session"]
    for headers in (
        {"sec-fetch-site": "cross-site", "origin": "http://evil.example"},
        {"sec-fetch-site": "same-site", "origin": "http://other.example"},
        {"origin": "http://evil.example"},
        {},
    ):
        foreign = guarded.client.post(
            "/v1/jobs", json={"prompt": "x"}, headers=headers | {"cookie": f"safelight_session={value}"}
        )
        assert foreign.status_code == 401, headers
    typed = {"cookie": f"safelight_session={value}", "sec-fetch-site": "none"}
    assert guarded.client.get("/v1/jobs", headers=typed).status_code == 200
    for wrong in (value[:-4] + "AAAA", "x", ""):
        refusal = guarded.client.get("/v1/jobs", headers=OWN | {"cookie": f"safelight_session={wrong}"})
        assert refusal.status_code == 401

    assert visitor.delete("/studio/session").status_code == 204
    assert visitor.get("/v1/jobs").status_code == 401


def test_a_session_ends_with_its_key_and_has_only_its_scopes(guarded: Stack, visitor: httpx.Client) -> None:
    key = a_key(guarded.database, scopes=[Scope.READ])
    session = body(visitor.post("/studio/session", json={"key": key}))

    assert session["scopes"] == ["read"]
    assert visitor.post("/v1/jobs", json={"prompt": "x"}).status_code == 403

    guarded.database.execute(keys.revoke(session["key_id"]))
    until(lambda: visitor.get("/v1/jobs").status_code == 401)
    assert body(visitor.get("/studio/session"))["project_id"] is None


def test_wrong_keys_are_refused_and_then_limited(guarded: Stack, visitor: httpx.Client) -> None:
    foreign = {"sec-fetch-site": "cross-site", "origin": "http://evil.example"}
    visitor.headers["x-forwarded-for"] = "192.0.2.7"  # its own address, as other tests sign in too
    answers = [visitor.post("/studio/session", json={"key": f"sl_{number}"}) for number in range(11)]

    assert visitor.post("/studio/session", json={"key": "sl_x"}, headers=foreign).status_code == 403
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert "set-cookie" not in answers[0].headers


def test_through_a_proxy_the_studio_asks_for_a_key_although_keys_are_off(safelight: Stack) -> None:
    headers = OWN | {"via": "1.1 proxy", "origin": safelight.url}
    with httpx.Client(base_url=safelight.url, headers=headers, timeout=PATIENCE) as client:
        assert client.get("/").status_code == 200
        assert body(client.get("/studio/session"))["needs_key"] is True
        assert client.get("/v1/jobs").status_code == 401
        client.post("/studio/session", json={"key": a_key(safelight.database)})
        assert client.get("/v1/jobs").status_code == 200
    assert body(safelight.client.get("/studio/session"))["needs_key"] is False


def test_a_model_describes_the_parameters_of_its_form(safelight: Stack) -> None:
    slow = body(safelight.client.get("/v1/models/slow"))
    parameters = slow["parameters"]

    assert parameters["steps"] | {"description": ""} == {
        "type": "integer", "minimum": 1, "maximum": 1000, "default": 40, "description": "",
        "operations": ["generation", "edit"],
    }  # fmt: skip
    assert parameters["size"]["enum"] == ["64x64"]
    assert parameters["style"]["enum"] == ["vivid"]
    assert parameters["strength"] | {"description": ""} == {
        "type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 0.5, "description": "",
        "operations": ["edit"],
    }  # fmt: skip
    assert parameters["postprocess"]["properties"]["upscale"]["enum"] == [2, 4]
    assert not {"scheduler", "background"} & parameters.keys()
    assert "parameters" not in body(safelight.client.get("/v1/models"))["data"][0]


def test_images_have_smaller_versions(safelight: Stack) -> None:
    job = safelight.final(safelight.submit("a cat", output_size="640x320")["id"])
    path = f"/v1/images/{job['images'][0]['id']}/content"
    smaller = safelight.client.get(path, params={"width": 256})

    assert smaller.headers["content-type"] == "image/webp"
    with Image.open(BytesIO(smaller.content)) as image:
        assert image.size == (256, 128)
    again = {"if-none-match": smaller.headers["etag"]}
    assert safelight.client.get(path, params={"width": 256}, headers=again).status_code == 304
    assert safelight.client.get(path, params={"width": 7}).status_code == 400
    narrow = safelight.final(safelight.submit()["id"])["images"][0]["id"]
    assert safelight.client.get(f"/v1/images/{narrow}/content?width=512").headers["content-type"] == "image/png"


def test_a_stream_follows_several_jobs_until_all_are_final(safelight: Stack) -> None:
    final = safelight.final(safelight.submit()["id"])["id"]
    jobs = [safelight.submit(model="slow", steps=4, partial_images=1)["id"] for _ in range(2)]
    statuses: dict[str, list[str]] = {job_id: [] for job_id in (final, *jobs)}
    kinds = set()
    with safelight.client.stream("GET", "/v1/jobs/events", params={"job_id": [final, *jobs]}) as answer:
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
                kinds.add(kind)
            elif name == "data" and kind == "job":
                job = json.loads(value)
                statuses[job["id"]].append(job["status"])

    assert statuses[final] == ["completed"]
    assert [statuses[job_id][-1] for job_id in jobs] == ["completed"] * 2
    assert kinds >= {"job", "job.progress"}
    unknown = safelight.client.get("/v1/jobs/events", params={"job_id": [final, "job_x"]})
    assert (unknown.status_code, body(unknown)["error"]["param"]) == (404, "id")
    assert safelight.client.get("/v1/jobs/events").status_code == 400


def test_a_search_reads_a_bounded_number_of_prompts_and_goes_on(safelight: Stack) -> None:
    tag = {"metadata": {"story": "search"}}
    jobs = [
        safelight.submit(prompt, **tag)["id"] for prompt in ("A red Cat", "a dog, red", "100% red_cat", "catalogue")
    ]
    query = {"metadata[story]": "search"}

    def search(prompt: str, **more: str | int) -> list[str]:
        page = body(safelight.client.get("/v1/jobs", params={**query, "prompt": prompt, **more}))
        return [job["id"] for job in page["data"]]

    assert search("cat red") == [jobs[2], jobs[0]]
    assert search("RED", order="asc") == jobs[:3]
    assert search("0%") == [jobs[2]]
    assert search("d_c") == [jobs[2]]
    assert search("nothing") == []
    assert search("red", limit=1) == [jobs[2]]
    assert search("red", after=jobs[2]) == [jobs[1], jobs[0]]
    statement = queries.search_jobs(
        "proj_default", ["red"], limit=10, descending=True, metadata={"story": "search"}, searched_jobs=2
    )
    rows = [(row.id, row.is_end) for row in safelight.database.execute(statement)]
    assert rows == [(jobs[2], False), (jobs[2], True)]
