"""Control images through every way in: each reaches its own job's pixels, its record and its receipt."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from mcp import Client
from PIL import Image

from tests.agents import result_of, with_agent
from tests.batches import file_lines, jsonl, until_batch
from tests.cli.terminal import Terminal
from tests.images import an_image, data_url, decode, encode, upload
from tests.stack import Stack, body

FIELDS: dict[str, Any] = {"prompt": "a house", "size": "64x64", "seed": 5, "steps": 3}
GUIDE = an_image((64, 64))


def pixels(stack: Stack, job: dict[str, Any]) -> bytes:
    final = stack.final(job["id"])
    assert final["status"] == "completed", final["error"]
    return decode(stack.image(final["images"][0])).convert("RGB").tobytes()


def controlled(stack: Stack, *controls: Any, **fields: Any) -> dict[str, Any]:
    return stack.submit(**{**FIELDS, "control": list(controls), **fields})


def test_a_control_image_is_in_the_pixels_the_job_and_the_receipt(safelight: Stack) -> None:
    file = {"file_id": upload(safelight, encode(GUIDE))["id"]}
    source = safelight.client.get(f"/v1/files/{file['file_id']}/content").content
    both = [{"type": "canny", "image": file, "weight": 0.8, "end": 0.5}, {"type": "depth", "image": data_url(GUIDE)}]

    job = safelight.final(controlled(safelight, *both)["id"])

    first, second = job["control"]
    assert first == {"type": "canny", "image": file, "weight": 0.8, "start": 0.0, "end": 0.5}
    assert (second["type"], second["weight"]) == ("depth", 0.5)
    copy = safelight.client.get(f"/v1/files/{second['image']['file_id']}/content").content
    assert decode(copy).tobytes() == GUIDE.tobytes()
    receipt = body(safelight.client.get(f"/v1/images/{job['images'][0]['id']}/receipt"))
    assert receipt["parameters"]["control"] == [
        {"type": "canny", "weight": 0.8, "start": 0.0, "end": 0.5},
        {"type": "depth", "weight": 0.5, "start": 0.0, "end": 1.0},
    ]
    assert receipt["inputs"][0] == {"role": "control_1", **file, "sha256": hashlib.sha256(source).hexdigest()}
    assert receipt["inputs"][1]["role"] == "control_2"

    again = safelight.final(body(safelight.client.post(f"/v1/jobs/{job['id']}/reproduce", json={}))["id"])
    assert (again["reproduction"]["identical"], again["control"]) == (True, job["control"])
    other = Image.new("RGB", (64, 64), "gold")
    results = {
        pixels(safelight, job),
        pixels(safelight, safelight.submit(**FIELDS)),
        *(pixels(safelight, controlled(safelight, {"type": "canny", "image": data_url(i)})) for i in (GUIDE, other)),
        pixels(safelight, controlled(safelight, {"type": "depth", "image": file})),
        pixels(safelight, controlled(safelight, {"type": "depth", "image": file, "weight": 1})),
    }
    assert len(results) == 6


def test_every_way_in_takes_the_same_control_image(safelight: Stack, tmp_path: Path) -> None:
    content = encode(GUIDE)
    file_id = upload(safelight, content)["id"]
    control = {"type": "canny", "image": {"file_id": file_id}, "weight": 0.8}
    expected = pixels(safelight, controlled(safelight, control))

    def of_url(url: str) -> bytes:
        return decode(safelight.client.get(url).content).convert("RGB").tobytes()

    openai = body(safelight.client.post("/v1/images/generations", json={**FIELDS, "control": [control]}))
    assert of_url(openai["data"][0]["url"]) == expected

    line = {
        "custom_id": "1",
        "method": "POST",
        "url": "/v1/images/generations",
        "body": {**FIELDS, "control": [control]},
    }
    upload_id = body(
        safelight.client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", jsonl(line))})
    )["id"]
    batch = body(
        safelight.client.post("/v1/batches", json={"input_file_id": upload_id, "endpoint": "/v1/images/generations"})
    )
    (output,) = file_lines(safelight, until_batch(safelight, batch["id"], "completed")["output_file_id"])
    assert of_url(output["response"]["body"]["data"][0]["url"]) == expected

    (tmp_path / "guide.png").write_bytes(content)
    options = ("--size", "64x64", "--seed", "5", "--steps", "3", "--control", "canny:0.8=guide.png")
    printed = Terminal(tmp_path, safelight.port).run("generate", "a house", *options, "-o", "house.png")
    assert printed.returncode == 0, printed.stderr
    assert decode((tmp_path / "house.png").read_bytes()).convert("RGB").tobytes() == expected

    async def agent(client: Client) -> Any:
        return result_of(
            await client.call_tool("generate_image", {**FIELDS, "control": [{**control, "image": file_id}]})
        )

    assert of_url(with_agent(safelight, agent)["images"][0]["url"]) == expected

    unit = {"model": "control_v11p_sd15_canny [d14c016b]", "image": base64.b64encode(content).decode(), "weight": 0.8}
    request = {"prompt": "a house", "width": 64, "height": 64, "seed": 5, "steps": 3}
    answer = safelight.client.post(
        "/sdapi/v1/txt2img", json={**request, "alwayson_scripts": {"ControlNet": {"args": [unit]}}}
    )
    assert decode(base64.b64decode(body(answer)["images"][0])).convert("RGB").tobytes() == expected


def test_a_form_of_an_edit_takes_a_control_as_a_text(safelight: Stack) -> None:
    file_id = upload(safelight, encode(GUIDE))["id"]
    fields = {"prompt": "a house", "size": "64x64", "seed": "5", "strength": "0.9"}

    def edited(**more: Any) -> dict[str, Any]:
        answer = safelight.client.post(
            "/v1/images/edits", data=fields | more, files={"image": ("a.png", encode(GUIDE))}
        )
        return body(answer)

    links = [edited()["data"][0]["url"], edited(**{"control[]": f"canny={file_id}"})["data"][0]["url"]]
    assert len({safelight.client.get(link).content for link in links}) == 2
    refused = edited(**{"control[]": f"pose={file_id}"})["error"]
    assert (refused["param"], "choose from canny, depth" in refused["message"]) == ("control.0.type", True)


def test_a_control_image_that_cannot_be_read_is_refused_by_name(safelight: Stack) -> None:
    before = safelight.count()
    for image, param in (
        ({"file_id": "file-0"}, "control.0.image.file_id"),
        ({"image_url": "data:image/png;base64,QUJD"}, "control.0.image"),
        ({"image_url": "https://example.com/a.png"}, "control.0.image.image_url"),
        ({}, "control.0.image"),
    ):
        answer = safelight.client.post("/v1/jobs", json={**FIELDS, "control": [{"type": "canny", "image": image}]})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert safelight.count() == before


def test_the_webuis_routes_of_controls_say_what_there_is(safelight: Stack) -> None:
    def get(name: str) -> Any:
        return body(safelight.client.get(f"/controlnet/{name}"))

    assert get("version") == {"version": 2}
    assert get("model_list")["model_list"] == ["canny", "depth"]
    assert get("module_list")["module_list"] == ["none", "canny", "lineart", "tile"]
    content = base64.b64encode(encode(GUIDE)).decode()
    request = {"controlnet_module": "canny", "controlnet_input_images": [content]}
    (edges,) = body(safelight.client.post("/controlnet/detect", json=request))["images"]
    image = decode(base64.b64decode(edges)).convert("RGB")
    assert (image.size, set(image.tobytes()) <= {0, 255}) == (GUIDE.size, True)
    refused = safelight.client.post("/controlnet/detect", json={**request, "controlnet_module": "openpose"})
    assert (refused.status_code, "choose from none, canny" in refused.json()["detail"]) == (400, True)
    preprocessed = controlled(safelight, {"type": "canny", "image": data_url(GUIDE), "preprocess": "canny"})
    assert safelight.final(preprocessed["id"])["control"][0]["preprocess"] == "canny"
