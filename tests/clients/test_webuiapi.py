"""The Python client `webuiapi`, unmodified, against a Safelight: images, masks, infotext, the model, progress."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import webuiapi
from PIL import Image

from core import keys
from core.scopes import Scope
from core.tables import DEFAULT_PROJECT
from tests.factories import a_key
from tests.images import an_image, encode, same
from tests.stack import Stack
from tests.waiting import PATIENCE, until

LEFT, RIGHT = (0, 0, 30, 64), (36, 0, 64, 64)


def client_of(stack: Stack, key: str) -> webuiapi.WebUIApi:
    """The client with an API key as its password. The header makes the key necessary, as behind a proxy."""
    client = webuiapi.WebUIApi(baseurl=f"{stack.url}/sdapi/v1")
    client.session.headers["Via"] = "1.1 proxy"
    client.set_auth("any", key)
    return client


@pytest.fixture
def client(safelight: Stack) -> webuiapi.WebUIApi:
    return client_of(safelight, a_key(safelight.database))


def warnings_of(result: Any) -> list[str]:
    texts: list[str] = result.info["warnings"]
    return texts


def test_txt2img_has_the_webuis_answer(client: webuiapi.WebUIApi) -> None:
    request: dict[str, Any] = {"prompt": "a cat", "negative_prompt": "a dog", "steps": 6, "width": 300, "height": 200}

    result = client.txt2img(**request, seed=7, batch_size=2, n_iter=2)

    assert [image.size for image in result.images] == [(300, 200)] * 4
    assert (result.info["seed"], result.info["all_seeds"]) == (7, [7, 8, 9, 10])
    assert (result.info["steps"], result.info["cfg_scale"], result.info["sd_model_name"]) == (6, 7.0, "fake")
    assert (result.parameters["prompt"], result.parameters["seed"], result.parameters["eta"]) == ("a cat", 7, 1.0)
    assert warnings_of(result) == [
        "fake has no size 300x200: images are generated at 256x256 and scaled.",
        "sampler_name 'Euler a' is not used by fake: it has only its own.",
    ]
    again = client.txt2img(**request, seed=8)
    assert same(again.image.convert("RGB"), result.images[1].convert("RGB"), (0, 0, 300, 200))


def test_the_infotext_of_an_image_is_read_back(client: webuiapi.WebUIApi) -> None:
    result = client.txt2img(prompt="a cat, 一只猫", negative_prompt="a dog", seed=7, steps=6, width=64, height=64)

    text = result.image.info["parameters"]
    read = client.png_info(result.image)

    assert text == result.info["infotexts"][0] == read.json["info"]
    assert text.startswith(
        "a cat, 一只猫\nNegative prompt: a dog\nSteps: 6, Sampler: Default, CFG scale: 7, Seed: 7, Size: 64x64"
    )
    assert (read.parameters["Prompt"], read.parameters["Seed"], read.parameters["Size-1"]) == (
        "a cat, 一只猫",
        "7",
        "64",
    )
    assert "XML:com.adobe.xmp" in read.json["items"]
    assert client.png_info(an_image()).json == {"info": "", "items": {}, "parameters": {}}


def a_webui_mask(alpha: bool) -> Image.Image:
    """A mask as the webui's clients make it: white, or opaque, where the image may change. Its right half."""
    mask = Image.new("RGBA", (64, 64), (255, 255, 255, 0)) if alpha else Image.new("RGB", (64, 64), "black")
    mask.paste("white", (32, 0, 64, 64))
    return mask


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("is_inverted", [0, 1])
def test_img2img_changes_what_the_mask_says(client: webuiapi.WebUIApi, alpha: bool, is_inverted: int) -> None:
    original = an_image()

    result = client.img2img(
        images=[original], mask_image=a_webui_mask(alpha), inpainting_mask_invert=is_inverted, inpaint_full_res=False,
        prompt="a dog", denoising_strength=1.0, width=64, height=64, sampler_name="Default", seed=3,
    )  # fmt: skip

    changed, unchanged = (LEFT, RIGHT) if is_inverted else (RIGHT, LEFT)
    assert same(result.image.convert("RGB"), original, unchanged)
    assert not same(result.image.convert("RGB"), original, changed)
    assert (warnings_of(result), result.parameters["init_images"], result.parameters["mask"]) == ([], None, None)
    again = client.img2img(images=[original], include_init_images=True, prompt="a dog", width=64, height=64)
    assert len(again.parameters["init_images"]) == 1


def test_an_edit_has_the_size_of_the_request_however_the_image_is_resized(client: webuiapi.WebUIApi) -> None:
    for mode in (0, 1, 2):
        result = client.img2img(images=[an_image((90, 40))], resize_mode=mode, prompt="a dog", width=100, height=120)
        assert result.image.size == (100, 120)


def test_images_are_enlarged(client: webuiapi.WebUIApi) -> None:
    double = client.extra_single_image(an_image(), upscaler_1="Nearest", upscaling_resize=2)
    fitted = client.extra_single_image(an_image(), upscaler_1="R-ESRGAN 4x+", resize_mode=1, upscaling_resize_w=200)
    several = client.extra_batch_images([an_image(), an_image((32, 32))], upscaler_1="Lanczos", upscaling_resize=4)

    assert double.image.size == (128, 128)
    assert same(double.image.resize((64, 64), Image.Resampling.NEAREST), an_image(), (0, 0, 64, 64))
    assert (fitted.image.size, double.info) == ((200, 512), "")
    assert "Lanczos is used" in fitted.info
    assert [image.size for image in several.images] == [(256, 256), (128, 128)]


def test_a_key_chooses_its_own_model(safelight: Stack, client: webuiapi.WebUIApi) -> None:
    other_client = client_of(safelight, a_key(safelight.database))
    assert client.util_get_model_names() == ["elsewhere", "fake", "slow"]

    client.util_set_model("slow")
    chosen = client.txt2img(prompt="a cat", steps=1, width=64, height=64)
    override = client.txt2img(
        prompt="a cat", width=64, height=64, override_settings={"sd_model_checkpoint": "dall-e-3"}
    )

    assert (client.util_get_current_model(), other_client.util_get_current_model()) == ("slow", "fake")
    assert [result.info["sd_model_name"] for result in (chosen, override)] == ["slow", "fake"]
    answer = client.set_options({**client.get_options(), "sd_model_checkpoint": "v1-5.safetensors"})
    assert "Available models: fake, slow, elsewhere" in answer["detail"]


def test_options_that_cannot_be_changed_are_named(safelight: Stack) -> None:
    current = safelight.client.get("/sdapi/v1/options").json()

    unchanged = safelight.client.post("/sdapi/v1/options", json=current)
    changed = safelight.client.post("/sdapi/v1/options", json={"CLIP_stop_at_last_layers": 2, "sd_vae": "x.pt"})

    assert (unchanged.status_code, unchanged.json(), "x-safelight-warnings" in unchanged.headers) == (200, None, False)
    assert changed.status_code == 200
    assert all(name in changed.headers["x-safelight-warnings"] for name in ("CLIP_stop_at_last_layers", "sd_vae"))


@pytest.fixture
def stranger(safelight: Stack) -> webuiapi.WebUIApi:
    """The client of another project."""
    (project,) = safelight.database.execute(keys.add_project("stranger of the webui"))
    return client_of(safelight, a_key(safelight.database, project))


class Call(threading.Thread):
    """A call of txt2img in a thread. Its result, or its error."""

    def __init__(self, client: webuiapi.WebUIApi, steps: int) -> None:
        super().__init__()
        self._client, self._steps = client, steps
        self.result: Any = None
        self.start()

    def run(self) -> None:
        settings = {"sd_model_checkpoint": "slow"}
        try:
            self.result = self._client.txt2img(
                prompt="a cat", steps=self._steps, width=64, height=64, override_settings=settings
            )
        except RuntimeError as error:
            self.result = error

    def end(self) -> Any:
        self.join(PATIENCE)
        return self.result


def test_progress_and_interrupt_are_those_of_the_key(
    safelight: Stack, client: webuiapi.WebUIApi, stranger: webuiapi.WebUIApi
) -> None:
    colleague = client_of(safelight, a_key(safelight.database))  # another key of the same project
    call = Call(client, steps=900)
    until(lambda: client.get_progress()["state"]["sampling_step"] > 0)
    busy, idle = client.get_progress(), stranger.get_progress()
    other_calls = [Call(other, steps=2) for other in (stranger, colleague)]  # they wait for the device
    until(lambda: stranger.get_progress()["textinfo"] and colleague.get_progress()["textinfo"])
    client.skip()
    error = call.end()

    assert (idle["progress"], idle["state"]["job"], idle["state"]["job_count"]) == (0.0, "", 0)
    assert 0 < busy["progress"] < 1
    assert busy["eta_relative"] > 0
    assert (busy["state"]["job_count"], busy["state"]["sampling_steps"]) == (1, 900)
    assert "was cancelled" in error.args[1]
    assert json.loads(error.args[1]).keys() == {"error", "detail", "body", "errors"}
    assert client.interrupt() == {}
    assert [len(other_call.end().images) for other_call in other_calls] == [1, 1]
    client.util_wait_for_ready()


def test_the_current_image_is_a_preview_until_an_interrupt(safelight: Stack, client: webuiapi.WebUIApi) -> None:
    calls = [Call(client, steps=200)]
    previews: list[str] = []

    def has_preview() -> bool:
        previews.append(client.get_progress()["current_image"])
        return previews[-1] is not None

    until(has_preview)
    calls.append(Call(client, steps=200))
    until(lambda: client.get_progress()["textinfo"])  # the newest call waits
    client.interrupt()

    with Image.open(io.BytesIO(base64.b64decode(previews[-1]))) as image:
        assert (image.format, image.size) == ("PNG", (64, 64))
    assert all("was cancelled" in call.end().args[1] for call in calls)
    without = safelight.client.get("/sdapi/v1/progress", params={"skip_current_image": "true"}).json()
    assert without["current_image"] is None


@pytest.fixture
def http(safelight: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=safelight.url, headers={"via": "1.1 proxy"}, timeout=PATIENCE) as http:
        yield http


def test_errors_have_the_webuis_format(safelight: Stack, http: httpx.Client) -> None:
    reader = ("any", a_key(safelight.database, DEFAULT_PROJECT, scopes=[Scope.READ]))
    refusals = {
        401: http.get("/sdapi/v1/options", auth=("any", keys.new_key())),
        403: http.post("/sdapi/v1/txt2img", json={"prompt": "a cat"}, auth=reader),
        404: http.get("/sdapi/v1/interrogate", auth=reader),
        415: safelight.client.post("/sdapi/v1/txt2img", content=b"x", headers={"content-type": "text/plain"}),
        405: safelight.client.get("/sdapi/v1/txt2img"),
        400: safelight.client.post("/sdapi/v1/img2img", json={"prompt": "a cat", "init_images": ["no image"]}),
    }

    for status, answer in refusals.items():
        assert answer.status_code == status
        content = answer.json()
        assert content.keys() == {"error", "detail", "body", "errors"}, status
        assert content["detail"] == content["errors"]
    assert "password of HTTP Basic" in refusals[401].json()["detail"]
    assert refusals[401].headers["www-authenticate"] == "Bearer"  # a browser must not ask its user for the key
    assert http.get("/v1/models", auth=reader).status_code == 401  # Basic is for the webui's calls only
    assert http.get("/sdapi/v1/options", auth=reader).status_code == 200


def test_lists_of_what_there_is_not_are_empty(client: webuiapi.WebUIApi) -> None:
    assert client.get_loras() == client.get_sd_vae() == client.get_hypernetworks() == client.get_face_restorers() == []
    assert client.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert client.get_scripts() == {"txt2img": [], "img2img": []}
    assert client.util_get_sampler_names() == ["Default"]
    assert client.util_get_scheduler_names() == ["automatic"]
    assert [item["name"] for item in client.get_upscalers()] == ["None", "Lanczos", "Nearest"]
    assert client.refresh_checkpoints() is None
    assert "error" in client.get_memory()["ram"]
    assert client.get_cmd_flags()["api"] is True


def test_hostile_images_and_bodies_are_refused_by_name(safelight: Stack) -> None:
    png = base64.b64encode(encode(an_image())).decode()
    black = base64.b64encode(encode(Image.new("RGB", (64, 64), "black"))).decode()
    deep: Any = {}
    for _ in range(30):
        deep = {"a": deep}
    bodies: list[tuple[dict[str, Any], str]] = [
        ({"init_images": [""]}, "init_images"),
        ({"init_images": []}, "init_images"),
        ({"init_images": [png[: len(png) // 2]]}, "init_images"),
        ({"init_images": ["http://127.0.0.1:8000/a.png"]}, "URLs are not fetched"),
        ({"init_images": ["data:image/png;base64,AAAA"]}, "unknown format"),
        ({"init_images": [png], "mask": "AAAA"}, "mask"),
        ({"init_images": [png], "mask": black}, "no white area"),
        ({"init_images": [png], "override_settings": deep}, "inside each other"),
        ({"init_images": [png], "prompt": " "}, "prompt must not be empty"),
    ]
    jobs = safelight.count()

    for fields, text in bodies:
        answer = safelight.client.post("/sdapi/v1/img2img", json={"prompt": "x", **fields})
        assert (answer.status_code, text in answer.json()["detail"]) == (400, True), answer.text
    for path in ("png-info", "extra-single-image"):
        answer = safelight.client.post(f"/sdapi/v1/{path}", json={"image": "AAAA"})
        assert (answer.status_code, "unknown format" in answer.json()["detail"]) == (400, True), answer.text

    assert safelight.count() == jobs
