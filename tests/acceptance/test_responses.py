"""`client.responses` of the official SDK, for the tool `image_generation`: a response is a job with one image."""

import base64
import random
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from openai.types.responses.response_output_item import ImageGenerationCall
from PIL import Image

from tests.images import a_mask, an_image, data_url, decode, encode, upload
from tests.stack import Stack, body
from tests.waiting import until

TOOL: Any = {"type": "image_generation"}


def create(client: openai.OpenAI, content: Any, tool: Any = None, **fields: Any) -> Response:
    """Create a response with the tool. Agents name a text model, whatever the image's model is."""
    response: Response = client.responses.create(model="gpt-5", input=content, tools=[TOOL | (tool or {})], **fields)
    return response


def stream(client: openai.OpenAI, content: Any, tool: Any = None, **fields: Any) -> list[Any]:
    """The events of a response. Each has a type of its own."""
    return list(
        client.responses.create(model="gpt-5", input=content, tools=[TOOL | (tool or {})], stream=True, **fields)
    )


def call_of(response: Response) -> ImageGenerationCall:
    call, _message = response.output
    assert isinstance(call, ImageGenerationCall)
    return call


def image_of(response: Response) -> Image.Image:
    return decode(base64.b64decode(call_of(response).result or ""))


def extra(response: Response) -> dict[str, Any]:
    """Safelight's own fields."""
    assert response.model_extra is not None
    return response.model_extra


def input_of(safelight: Stack, response: Response) -> bytes:
    """The image that was edited."""
    job = safelight.job(extra(response)["job_id"])
    assert job["operation"] == "edit"
    return safelight.client.get(f"/v1/files/{job['image']['file_id']}/content").content


def message(*parts: dict[str, str], role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(parts)}


def text(value: str) -> dict[str, str]:
    return {"type": "input_text", "text": value}


def test_a_response_has_the_image_of_its_prompt(safelight: Stack, client: openai.OpenAI) -> None:
    response = create(client, "a cat", {"model": "fake", "seed": 7}, metadata={"order": "1831"}, user="ada")

    call = call_of(response)
    assert (response.status, response.error, response.model) == ("completed", None, "gpt-5")
    assert (call.status, call.output_format, call.size, call.action) == ("completed", "png", "64x64", "generate")
    assert image_of(response).size == (64, 64)
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens_details.cached_tokens == 0
    assert response.output_text == "The image is ready."
    assert (response.metadata, extra(response)["warnings"]) == ({"order": "1831", "user": "ada"}, [])
    job = safelight.job(extra(response)["job_id"])
    assert (job["prompt"], job["images"][0]["seed"], job["n"]) == ("a cat", 7, 1)
    assert client.responses.retrieve(response.id) == response.model_copy(update={"background": None})


def test_the_tools_parameters_are_adapted_and_what_is_not_used_is_said(safelight: Stack, client: openai.OpenAI) -> None:
    """An agent's request: its other tools, its instructions and the parameters of its text model."""
    tool = {
        "size": "1024x1536",
        "quality": "high",
        "background": "transparent",
        "output_format": "webp",
        "input_fidelity": "high",
    }
    function: Any = {
        "type": "function",
        "name": "f",
        "parameters": {"type": "object", "properties": {}},
        "strict": True,
    }
    content: Any = [message(text("be brief"), role="developer"), message(text("a cat"))]
    raw = client.responses.with_raw_response.create(
        model="gpt-5",
        input=content,
        tools=[function, TOOL | tool],
        instructions="You are an artist.",
        temperature=0.2,
        top_p=1,
        parallel_tool_calls=True,
        store=False,
    )

    response = raw.parse()
    assert (image_of(response).size, call_of(response).output_format) == ((1024, 1536), "webp")
    params = [warning["param"] for warning in extra(response)["warnings"]]
    assert sorted(params) == [
        "background",
        "input",
        "input_fidelity",
        "instructions",
        "quality",
        "size",
        "store",
        "temperature",
        "tools",
    ]
    assert "instructions is not used" in response.output_text  # agents show it, and no other field of ours
    assert "instructions is not used" in raw.headers["x-safelight-warnings"]
    assert safelight.job(extra(response)["job_id"])["warnings"] == extra(response)["warnings"]


def test_a_stream_has_each_state_of_the_call_and_can_be_resumed(client: openai.OpenAI) -> None:
    tool = {"model": "slow", "steps": 8, "partial_images": 2}
    events = stream(client, "a cat", tool, background=True)

    call = "response.image_generation_call"
    names = ["response.created", "response.in_progress", "response.output_item.added"]
    names += [f"{call}.in_progress", f"{call}.generating", f"{call}.partial_image", f"{call}.partial_image"]
    names += [f"{call}.completed", "response.output_item.done", "response.output_item.added"]
    names += ["response.content_part.added", "response.output_text.delta", "response.output_text.done"]
    names += ["response.content_part.done", "response.output_item.done", "response.completed"]
    assert [event.type for event in events] == names
    assert [event.sequence_number for event in events] == list(range(16))
    assert {event.item_id for event in events if event.type.startswith(call)} == {call_of(events[-1].response).id}
    assert decode(base64.b64decode(events[5].partial_image_b64)).size == (64, 64)
    assert image_of(events[-1].response).size == (64, 64)

    rest: list[Any] = list(client.responses.retrieve(events[0].response.id, stream=True, starting_after=4))
    assert [event.type for event in rest] == names[7:]  # previews are not stored


def test_a_response_in_the_background_is_polled_cancelled_and_deleted(client: openai.OpenAI) -> None:
    response = create(client, "a cat", {"model": "slow", "steps": 2}, background=True)
    waiting = create(client, "a cat", {"model": "elsewhere"}, background=True)

    assert (response.background, waiting.status, waiting.output) == (True, "queued", [])
    with pytest.raises(openai.ConflictError):
        client.responses.delete(waiting.id)
    assert client.responses.cancel(waiting.id).status == "cancelled"
    until(lambda: client.responses.retrieve(response.id).status not in ("queued", "in_progress"))
    assert image_of(client.responses.retrieve(response.id)).size == (64, 64)
    for response_id in (response.id, waiting.id):
        client.responses.delete(response_id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(response_id)


def test_an_image_of_the_input_is_edited(safelight: Stack, client: openai.OpenAI) -> None:
    mask = encode(a_mask())
    file_id = upload(safelight, encode(an_image(colour="navy")))["id"]
    tool = {"model": "slow", "steps": 2, "input_image_mask": {"file_id": upload(safelight, mask)["id"]}}

    inline = create(client, [message(text("a dog"), {"type": "input_image", **data_url(an_image())})], tool)
    by_id = create(client, [message({"type": "input_image", "file_id": file_id, "detail": "auto"}, text("a dog"))])
    drawn_anew = create(
        client, [message({"type": "input_image", "file_id": file_id}, text("a dog"))], {"action": "generate"}
    )

    assert decode(input_of(safelight, inline)).tobytes() == an_image().tobytes()
    assert safelight.job(extra(inline)["job_id"])["mask"] is not None
    assert decode(input_of(safelight, by_id)).tobytes() == an_image(colour="navy").tobytes()
    assert call_of(by_id).action == "edit"
    assert [item["code"] for item in extra(drawn_anew)["warnings"]] == ["images_not_used"]


def test_the_next_turn_edits_the_image_of_the_one_before(safelight: Stack, client: openai.OpenAI) -> None:
    first = create(client, "a cat")
    call = {"type": "image_generation_call", "id": call_of(first).id}
    question = message(text("now at night"))
    history = [message(text("a cat")), call, message({"type": "output_text", "text": "Here."}, role="assistant")]

    turns = [
        create(client, "now at night", previous_response_id=first.id),
        create(client, [*history, question]),
        create(client, [{"type": "item_reference", "id": call["id"]}, question]),
        create(client, [call | {"id": "ig_elsewhere", "result": call_of(first).result}, question]),
    ]

    for turn in turns:
        assert decode(input_of(safelight, turn)).tobytes() == image_of(first).tobytes()
        assert safelight.job(extra(turn)["job_id"])["prompt"] == "now at night"
    assert turns[0].previous_response_id == first.id
    assert [[item["param"] for item in extra(turn)["warnings"]] for turn in turns] == [[], ["input"], [], []]


def test_an_image_of_the_input_may_be_larger_than_other_json(safelight: Stack, client: openai.OpenAI) -> None:
    pixels = random.Random(1).randbytes(640 * 640 * 3)  # noqa: S311 - noise does not compress
    image = Image.frombytes("RGB", (640, 640), pixels)

    response = create(client, [message(text("a dog"), {"type": "input_image", **data_url(image)})])

    assert len(input_of(safelight, response)) > 1_000_000


def test_a_failed_job_is_an_error_or_the_last_event(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as error:
        create(client, "[refuse]")
    *_, last = stream(client, "[refuse]")

    assert (error.value.code, error.value.response.headers["x-should-retry"]) == ("generation_failed", "false")
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.code == "server_error"
    assert client.responses.retrieve(last.response.id).status == "failed"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no tool": ({"tools": []}, "tools"),
    "another tool": ({"tools": [{"type": "web_search"}]}, "tools"),
    "the tool twice": ({"tools": [TOOL, TOOL]}, "tools"),
    "no call of a tool": ({"tool_choice": "none"}, "tool_choice"),
    "a call of another tool": ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
    "no input": ({"input": None}, "input"),
    "an empty input": ({"input": " "}, "input"),
    "an input of a wrong type": ({"input": 7}, "input"),
    "an item of a wrong type": ({"input": ["a cat"]}, "input.0"),
    "a part outside of a message": ({"input": [text("a cat")]}, "input.0.type"),
    "a role": ({"input": [message(text("a"), role="bot")]}, "input.0.role"),
    "a file": ({"input": [message(text("a"), {"type": "input_file", "file_id": "file-1"})]}, "input.0.content.1.type"),
    "a link": (
        {"input": [message(text("a"), {"type": "input_image", "image_url": "https://x.example/a.png"})]},
        "input.0.content.1.image_url",
    ),
    "a missing file": ({"input": [message(text("a"), {"type": "input_image", "file_id": "file-1"})]}, "input"),
    "nothing new": ({"input": [message(text("a")), {"type": "image_generation_call", "id": "ig_1"}]}, "input"),
    "a missing call": (
        {"input": [{"type": "image_generation_call", "id": "ig_1"}, message(text("a"))]},
        "input.0.id",
    ),
    "a missing response": ({"previous_response_id": "resp_1\0"}, "previous_response_id"),
    "an edit of nothing": ({"tools": [TOOL | {"action": "edit"}]}, "input"),
    "a mask for nothing": ({"tools": [TOOL | {"input_image_mask": {"file_id": "file-1"}}]}, "tools.0.input_image_mask"),
    "a size": ({"tools": [{"type": "web_search"}, TOOL | {"size": "7x7"}]}, "tools.1.size"),
    "a model": ({"tools": [TOOL | {"model": "nope"}]}, "tools.0.model"),
    "two images": ({"tools": [TOOL | {"n": 2}]}, "tools.0.n"),
    "an animation": ({"tools": [TOOL | {"frame_count": 3}]}, "tools.0.frame_count"),
    "an unknown field of the tool": ({"tools": [TOOL | {"colour": "red"}]}, "tools.0.colour"),
    "an unknown field": ({"colour": "red"}, "colour"),
    "a stored conversation": ({"conversation": "conv_1"}, "conversation"),
    "a stored prompt": ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    "our own metadata": ({"metadata": {"openai_response_model": "x"}}, "metadata.openai_response_model"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_image_is_refused_by_name(safelight: Stack, case: str) -> None:
    fields, param = REFUSED[case]
    number = safelight.count()

    answer = safelight.client.post("/v1/responses", json={"model": "gpt-5", "input": "a", "tools": [TOOL], **fields})

    assert answer.status_code == 400, answer.text
    error = body(answer)["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert "image_generation" in error["message"] or param not in ("tools", "tool_choice")
    assert safelight.count() == number


def test_a_job_of_another_call_is_not_a_response(safelight: Stack) -> None:
    job_id = safelight.submit()["id"]

    for response_id in (f"resp_{job_id.partition('_')[2]}", job_id, "resp_1"):
        assert safelight.client.get(f"/v1/responses/{response_id}").status_code == 404
