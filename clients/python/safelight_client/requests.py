"""The bodies of requests. Made from the OpenAPI document by `python clients/generate.py`: do not edit."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict


class BatchWebhook(TypedDict):
    """
    A webhook for the events of one batch.
    """

    url: str
    """
    URL that receives the events.
    """
    secret: NotRequired[str | None]
    """
    Secret that signs the events: `whsec_` and 24 to 64 bytes in base64. Default: no signature.
    """
    events: NotRequired[Sequence[Literal["batch.failed", "batch.completed", "batch.expired", "batch.cancelled"]]]
    """
    Event types. Default: those of a finished batch.
    """


class DetectRequest(TypedDict):
    """
    Images to preprocess.
    """

    controlnet_module: NotRequired[str]
    """
    A name of `/controlnet/module_list`.
    """
    controlnet_input_images: Sequence[str]
    """
    The images, in base64 or as data URLs.
    """


class EndpointChanges(TypedDict):
    """
    The fields of an endpoint to update.
    """

    name: NotRequired[str | None]
    url: NotRequired[str | None]
    event_types: NotRequired[
        Sequence[
            Literal[
                "job.started",
                "job.completed",
                "job.failed",
                "job.cancelled",
                "job.expired",
                "batch.failed",
                "batch.completed",
                "batch.expired",
                "batch.cancelled",
            ]
        ]
        | None
    ]
    enabled: NotRequired[bool | None]
    """
    False: stop sending events. True: send new events again.
    """


class EndpointRequest(TypedDict):
    """
    A webhook endpoint to create.
    """

    name: str
    """
    A name for display.
    """
    url: str
    """
    The URL that receives events. It must be https, except on allowed internal hosts.
    """
    event_types: Sequence[
        Literal[
            "job.started",
            "job.completed",
            "job.failed",
            "job.cancelled",
            "job.expired",
            "batch.failed",
            "batch.completed",
            "batch.expired",
            "batch.cancelled",
        ]
    ]
    """
    The event types to receive.
    """


class ErasureRequest(TypedDict):
    """
    Whose data to delete.
    """

    user: str
    """
    The `user` of OpenAI's calls, which is the entry `user` of a job's metadata.
    """


class FileData(TypedDict):
    """
    A file of `extra-batch-images`.
    """

    data: str
    name: NotRequired[str]


class Hires(TypedDict):
    """
    The second pass of a request: by `scale`, or to `width` and `height`. `{}` takes the model's defaults.
    """

    scale: NotRequired[float | None]
    """
    Factor for both sides. Default: the largest that the model allows.
    """
    width: NotRequired[int | None]
    """
    Width of the result in pixels, with `height`, instead of `scale`.
    """
    height: NotRequired[int | None]
    """
    Height of the result in pixels.
    """
    strength: NotRequired[float | None]
    """
    How much the second pass changes the enlarged image.
    """
    steps: NotRequired[int | None]
    """
    Denoising steps, of which the second pass does the share `strength`. Default: `steps`.
    """
    upscaler: NotRequired[str]
    """
    How the image is enlarged: `lanczos`, or another of the model's `hires.upscalers`.
    """


class HyperparametersRequest(TypedDict):
    """
    Hyperparameters of a request: OpenAI's three, and `steps`, `learning_rate`, `rank` and `resolution`.
    """

    n_epochs: NotRequired[Literal["auto"] | int | None]
    """
    How often each image is seen. `auto`: as many steps as the catalogue says.
    """
    batch_size: NotRequired[Literal["auto"] | int | None]
    """
    Images of a step. `auto`: as many as the catalogue says.
    """
    learning_rate_multiplier: NotRequired[Literal["auto"] | float | None]
    """
    Factor of the catalogue's learning rate. `auto`: 1.
    """
    steps: NotRequired[int | None]
    """
    Number of steps, in the place of `n_epochs`.
    """
    learning_rate: NotRequired[float | None]
    """
    Learning rate of AdamW. Default: the catalogue's.
    """
    rank: NotRequired[int | None]
    """
    Rank of the LoRA. Default: the catalogue's.
    """
    resolution: NotRequired[int | None]
    """
    Side of the images in pixels, a multiple of 8. Default: the catalogue's.
    """


class ImageSource(TypedDict):
    """
    An input image. Set exactly one field. The image is read when the job is submitted.
    """

    file_id: NotRequired[str | None]
    """
    Id of a file, uploaded with `POST /v1/files` and purpose `vision`.
    """
    image_id: NotRequired[str | None]
    """
    Id of an image of an earlier job.
    """
    image_url: NotRequired[str | None]
    """
    A data URL, `data:image/png;base64,...`. Other URLs are not fetched.
    """


class Img2ImgRequest(TypedDict):
    """
    Images from an image and a prompt, everywhere or where a mask is.
    """

    prompt: NotRequired[str | None]
    """
    The content of the images.
    """
    negative_prompt: NotRequired[str | None]
    """
    What the images should not show.
    """
    styles: NotRequired[Sequence[str] | None]
    """
    Names of `/sdapi/v1/prompt-styles`.
    """
    seed: NotRequired[int | str | None]
    """
    Seed of the first image; image i has seed + i. -1: random.
    """
    sampler_name: NotRequired[str | None]
    """
    A name of `/sdapi/v1/samplers`. Default: the model's own.
    """
    sampler_index: NotRequired[str | None]
    """
    The older name of `sampler_name`.
    """
    scheduler: NotRequired[str | None]
    """
    A name or label of `/sdapi/v1/schedulers`.
    """
    batch_size: NotRequired[int | str | None]
    """
    Images of a batch. Default: 1.
    """
    n_iter: NotRequired[int | str | None]
    """
    Number of batches. There are `batch_size` x `n_iter` images, of one job.
    """
    steps: NotRequired[int | str | None]
    """
    Number of denoising steps. Default: the model's.
    """
    cfg_scale: NotRequired[float | str | None]
    """
    How closely the images follow the prompt. Default: the model's.
    """
    width: NotRequired[int | str | None]
    """
    Width in pixels. Any: the image is generated at the model's nearest size, and scaled.
    """
    height: NotRequired[int | str | None]
    """
    Height in pixels. Default, without `width` too: the model's size.
    """
    denoising_strength: NotRequired[float | str | None]
    """
    How much img2img, or the second pass of txt2img, changes the image.
    """
    override_settings: NotRequired[Mapping[str, Any] | None]
    """
    `sd_model_checkpoint` (the model), `samples_format`, `jpeg_quality`, `live_previews_enable`.
    """
    alwayson_scripts: NotRequired[Mapping[str, Any] | None]
    """
    `controlnet`: the control images. Others cause a warning.
    """
    send_images: NotRequired[bool | Literal[0, 1] | None]
    """
    Whether the response has the images. Default: true.
    """
    init_images: Sequence[str]
    """
    The image, in base64 or as a data URL; further ones are not used.
    """
    mask: NotRequired[str | None]
    """
    White where the image may change; in an image with transparency, its opaque area.
    """
    inpainting_mask_invert: NotRequired[int | str | None]
    """
    1: the black (or transparent) area of the mask may change.
    """
    resize_mode: NotRequired[int | str | None]
    """
    How the image gets the size of the result: 0 stretch, 1 crop, 2 fill. 3 is as 0.
    """
    include_init_images: NotRequired[bool | Literal[0, 1] | None]
    """
    Whether `parameters` of the response has the images.
    """


class JobFilter(TypedDict):
    """
    Which jobs of all projects are meant: those that match every field that is set.
    """

    status: NotRequired[Sequence[Literal["queued", "in_progress", "failed", "expired", "cancelled"]] | None]
    """
    To cancel: `queued`, `in_progress`, by default both. To retry: `failed` (the default), `expired`, `cancelled`.
    """
    error_code: NotRequired[str | None]
    """
    Only jobs that failed with this code.
    """
    model: NotRequired[str | None]
    """
    Id of a model, no alias.
    """
    queue: NotRequired[str | None]
    """
    Only jobs of this queue.
    """
    project_id: NotRequired[str | None]
    """
    Only jobs of this project.
    """
    batch_id: NotRequired[str | None]
    """
    To retry, lines of batches are left out unless this names their batch.
    """
    created_after: NotRequired[int | None]
    created_before: NotRequired[int | None]
    metadata: NotRequired[Mapping[str, str]]
    """
    Only jobs with this metadata.
    """


class JobWebhook(TypedDict):
    """
    A webhook for the events of one job.
    """

    url: str
    """
    URL that receives the events.
    """
    secret: NotRequired[str | None]
    """
    Secret that signs the events: `whsec_` and 24 to 64 bytes in base64. Default: no signature.
    """
    events: NotRequired[Sequence[Literal["job.started", "job.completed", "job.failed", "job.cancelled", "job.expired"]]]
    """
    Event types. Default: those of a finished job.
    """


class KeyRequest(TypedDict):
    """
    An API key to create.
    """

    name: str
    """
    A name for display, such as the key's purpose.
    """
    scopes: NotRequired[Sequence[Literal["submit", "read", "webhooks", "admin"]]]
    """
    What the key may be used for. Your own key must have these scopes.
    """
    expires_in_seconds: NotRequired[int | None]
    """
    Time until the key expires. Default: never.
    """


class Lora(TypedDict):
    """
    A LoRA of the model, and how strongly it acts. `name:weight` is read too, for forms and the command line.
    """

    name: str
    """
    One of the model's, or a model that your project has fine-tuned.
    """
    weight: NotRequired[float | None]
    """
    0 changes nothing. Default: the catalogue's weight of the LoRA.
    """


class OutputExpiresAfter(TypedDict):
    """
    When the output files of a batch are deleted.
    """

    anchor: Literal["created_at"]
    seconds: int
    """
    Time after the files are written: an hour to 30 days.
    """


class PngInfoRequest(TypedDict):
    """
    An image file.
    """

    image: str
    """
    The file, in base64 or as a data URL.
    """


class Postprocess(TypedDict):
    """
    Filters for the generated image, always applied in this order. `{}` does nothing.
    """

    denoise: NotRequired[float | None]
    """
    Strength of noise reduction, 0 to 1. It smooths even areas and keeps edges. 0 changes nothing.
    """
    upscale: NotRequired[Literal[2, 4] | None]
    """
    Factor for both sides. Edges stay sharp, without halos. No side may exceed 4096 px.
    """
    sharpen: NotRequired[float | None]
    """
    Strength of sharpening, 0 to 1. It raises the contrast of edges. 0 changes nothing.
    """


class RedeliverRequest(TypedDict):
    """
    The events to redeliver.
    """

    since: int
    """
    Redeliver events since this time, in Unix seconds.
    """


class ReferenceImage(TypedDict):
    """
    A reference image. Set exactly one of file_id, image_id and image_url.

    A text stands for an image too, also `adapter:weight=image`, for forms and the command line.
    """

    file_id: NotRequired[str | None]
    """
    Id of a file, uploaded with `POST /v1/files` and purpose `vision`.
    """
    image_id: NotRequired[str | None]
    """
    Id of an image of an earlier job.
    """
    image_url: NotRequired[str | None]
    """
    A data URL, `data:image/png;base64,...`. Other URLs are not fetched.
    """
    adapter: NotRequired[str | None]
    """
    The IP-Adapter that reads it, one of the model's `ip_adapters`. Default: the first.
    """
    weight: NotRequired[float | None]
    """
    How strongly it acts, by an IP-Adapter. Default: the catalogue's weight of the adapter.
    """


class Refiner(TypedDict):
    """
    The refiner of a request. `{}` takes the model's first.
    """

    model: NotRequired[str | None]
    """
    One of the model's `refiners`. Default: the first.
    """
    switch_at: NotRequired[float | None]
    """
    The share of the steps after which it begins. Default: the catalogue's.
    """


class ReproduceRequest(TypedDict):
    """
    What of a job is drawn again; by default all its images.
    """

    image: NotRequired[str | None]
    """
    Id of one image of the job. Default: all images.
    """


class ResponseRequest(TypedDict):
    """
    A request for an image, as OpenAI's Responses API has it.
    """

    access_programs: NotRequired[Any]
    background_options: NotRequired[Any]
    context_management: NotRequired[Any]
    image: NotRequired[Any]
    include: NotRequired[Any]
    instructions: NotRequired[Any]
    max_output_tokens: NotRequired[Any]
    max_tool_calls: NotRequired[Any]
    moderation: NotRequired[Any]
    parallel_tool_calls: NotRequired[Any]
    prompt_cache_key: NotRequired[Any]
    prompt_cache_options: NotRequired[Any]
    prompt_cache_retention: NotRequired[Any]
    reasoning: NotRequired[Any]
    service_tier: NotRequired[Any]
    store: NotRequired[Any]
    stream_options: NotRequired[Any]
    temperature: NotRequired[Any]
    text: NotRequired[Any]
    top_logprobs: NotRequired[Any]
    top_p: NotRequired[Any]
    truncation: NotRequired[Any]
    model: NotRequired[str | None]
    """
    Name of a text model: any. `model` of the tool is the model of the image.
    """
    input: NotRequired[str | Sequence[Mapping[str, Any]]]
    """
    The prompt; or messages with `input_text` and `input_image`, and earlier items of the conversation. The prompt is the text of the user's last turn.
    """
    tools: NotRequired[Sequence[Mapping[str, Any]]]
    """
    One tool `image_generation`: action, background, clip_skip, control, deterministic, eta, guidance_scale, hires, input_fidelity, input_image_mask, loras, max_sequence_length, model, moderation, moderation_level, n, negative_prompt, negative_prompt_2, output_compression, output_format, output_size, partial_images, postprocess, priority, prompt_2, quality, reference_images, refiner, scheduler, seed, size, steps, strength, style, tiling, true_cfg_scale, type. Other tools are not called.
    """
    tool_choice: NotRequired[str | Mapping[str, Any]]
    """
    `auto`, `required`, or the tool `image_generation`.
    """
    stream: NotRequired[bool | None]
    """
    Respond with server-sent events.
    """
    background: NotRequired[bool | None]
    """
    Respond at once; `GET /v1/responses/{id}` has the image when it is done.
    """
    previous_response_id: NotRequired[str | None]
    """
    The response whose image is to be edited.
    """
    metadata: NotRequired[Mapping[str, str] | None]
    """
    Up to 14 key-value pairs, stored in the metadata of the job.
    """
    user: NotRequired[str | None]
    """
    Id of your end user, as in the images calls.
    """
    safety_identifier: NotRequired[str | None]
    """
    The newer name of `user`.
    """
    conversation: NotRequired[Any]
    """
    Not supported: use `previous_response_id`.
    """
    prompt: NotRequired[Any]
    """
    Not supported: a template of prompts that OpenAI stores.
    """


class RotateRequest(TypedDict):
    """
    How to rotate a secret.
    """

    keep_old_secret_active_for_24_hours: NotRequired[bool]
    """
    Sign with both secrets for 24 hours.
    """


class SingleImageRequest(TypedDict):
    """
    An image to enlarge.
    """

    resize_mode: NotRequired[int | str]
    """
    0: by a factor, 1: to a size.
    """
    upscaling_resize: NotRequired[float | str]
    """
    The factor.
    """
    upscaling_resize_w: NotRequired[int | str]
    """
    Width in pixels.
    """
    upscaling_resize_h: NotRequired[int | str]
    """
    Height in pixels.
    """
    upscaling_crop: NotRequired[bool | Literal[0, 1]]
    """
    Crop the image to the size, around its centre.
    """
    upscaler_1: NotRequired[str]
    """
    A name of `/sdapi/v1/upscalers`.
    """
    upscaler_2: NotRequired[str]
    """
    Not used.
    """
    gfpgan_visibility: NotRequired[float | str]
    """
    Not used.
    """
    codeformer_visibility: NotRequired[float | str]
    """
    Not used.
    """
    image: str
    """
    The image, in base64 or as a data URL.
    """


class SupervisedMethod(TypedDict):
    """
    The method `supervised`, which is the only one.
    """

    hyperparameters: NotRequired[HyperparametersRequest]


class TestRequest(TypedDict):
    """
    The test event to send.
    """

    event_type: Literal[
        "job.started",
        "job.completed",
        "job.failed",
        "job.cancelled",
        "job.expired",
        "batch.failed",
        "batch.completed",
        "batch.expired",
        "batch.cancelled",
    ]


class Txt2ImgRequest(TypedDict):
    """
    Images from a prompt.
    """

    prompt: NotRequired[str | None]
    """
    The content of the images.
    """
    negative_prompt: NotRequired[str | None]
    """
    What the images should not show.
    """
    styles: NotRequired[Sequence[str] | None]
    """
    Names of `/sdapi/v1/prompt-styles`.
    """
    seed: NotRequired[int | str | None]
    """
    Seed of the first image; image i has seed + i. -1: random.
    """
    sampler_name: NotRequired[str | None]
    """
    A name of `/sdapi/v1/samplers`. Default: the model's own.
    """
    sampler_index: NotRequired[str | None]
    """
    The older name of `sampler_name`.
    """
    scheduler: NotRequired[str | None]
    """
    A name or label of `/sdapi/v1/schedulers`.
    """
    batch_size: NotRequired[int | str | None]
    """
    Images of a batch. Default: 1.
    """
    n_iter: NotRequired[int | str | None]
    """
    Number of batches. There are `batch_size` x `n_iter` images, of one job.
    """
    steps: NotRequired[int | str | None]
    """
    Number of denoising steps. Default: the model's.
    """
    cfg_scale: NotRequired[float | str | None]
    """
    How closely the images follow the prompt. Default: the model's.
    """
    width: NotRequired[int | str | None]
    """
    Width in pixels. Any: the image is generated at the model's nearest size, and scaled.
    """
    height: NotRequired[int | str | None]
    """
    Height in pixels. Default, without `width` too: the model's size.
    """
    denoising_strength: NotRequired[float | str | None]
    """
    How much img2img, or the second pass of txt2img, changes the image.
    """
    override_settings: NotRequired[Mapping[str, Any] | None]
    """
    `sd_model_checkpoint` (the model), `samples_format`, `jpeg_quality`, `live_previews_enable`.
    """
    alwayson_scripts: NotRequired[Mapping[str, Any] | None]
    """
    `controlnet`: the control images. Others cause a warning.
    """
    send_images: NotRequired[bool | Literal[0, 1] | None]
    """
    Whether the response has the images. Default: true.
    """
    enable_hr: NotRequired[bool | Literal[0, 1] | None]
    """
    Enlarge the images: by a second pass if the model has one (`hires`), else by scaling.
    """
    hr_second_pass_steps: NotRequired[int | str | None]
    """
    Steps of the second pass. 0: as in the first.
    """
    hr_upscaler: NotRequired[str | None]
    """
    A name of `/sdapi/v1/latent-upscale-modes`, or a network of the model. Default: Lanczos.
    """
    refiner_checkpoint: NotRequired[str | None]
    """
    The name of a refiner of the model.
    """
    refiner_switch_at: NotRequired[float | str | None]
    """
    The share of the steps after which it begins.
    """
    hr_scale: NotRequired[float | str | None]
    """
    Factor of `enable_hr`. Default: 2.
    """
    hr_resize_x: NotRequired[int | str | None]
    """
    Width of the result of `enable_hr`, instead of `hr_scale`. 0: none.
    """
    hr_resize_y: NotRequired[int | str | None]
    """
    Its height.
    """


class BatchImagesRequest(TypedDict):
    """
    Images to enlarge.
    """

    resize_mode: NotRequired[int | str]
    """
    0: by a factor, 1: to a size.
    """
    upscaling_resize: NotRequired[float | str]
    """
    The factor.
    """
    upscaling_resize_w: NotRequired[int | str]
    """
    Width in pixels.
    """
    upscaling_resize_h: NotRequired[int | str]
    """
    Height in pixels.
    """
    upscaling_crop: NotRequired[bool | Literal[0, 1]]
    """
    Crop the image to the size, around its centre.
    """
    upscaler_1: NotRequired[str]
    """
    A name of `/sdapi/v1/upscalers`.
    """
    upscaler_2: NotRequired[str]
    """
    Not used.
    """
    gfpgan_visibility: NotRequired[float | str]
    """
    Not used.
    """
    codeformer_visibility: NotRequired[float | str]
    """
    Not used.
    """
    imageList: Sequence[FileData]


class BulkRequest(TypedDict):
    """
    A filter, to count the jobs; or the token of an answer, to change them.
    """

    filter: NotRequired[JobFilter | None]
    """
    Count the jobs that match. Nothing is changed.
    """
    token: NotRequired[str | None]
    """
    Change the next of the jobs that were counted; from the answer before.
    """


class Control(TypedDict):
    """
    A control image. `type=image` and `type:weight=image` are read too, for forms and the command line.
    """

    type: str
    """
    One of the model's `controls`.
    """
    image: ImageSource | None
    """
    The control image, such as the edges of a photo. It is cropped and scaled to `size`.
    """
    weight: NotRequired[float | None]
    """
    How strongly it acts. Default: the catalogue's weight of the type.
    """
    preprocess: NotRequired[Literal["none", "canny", "depth", "lineart", "pose", "tile"] | None]
    """
    What is made of the image first: `canny` (edges), `depth`, `lineart`; `tile` and `none` only scale it. Default: the catalogue's for the type.
    """
    start: NotRequired[float]
    """
    The share of the steps after which it begins.
    """
    end: NotRequired[float]
    """
    The share of the steps after which it ends.
    """


class JobRequest(TypedDict):
    """
    A request for images. A generation needs a `prompt`, a variation an `image`, and an edit both.
    """

    prompt: NotRequired[str | None]
    """
    Text that describes the images. Not for variations.
    """
    negative_prompt: NotRequired[str | None]
    """
    What the images should not show.
    """
    prompt_2: NotRequired[str | None]
    """
    Prompt for the model's second text encoder. Default: `prompt`.
    """
    negative_prompt_2: NotRequired[str | None]
    """
    Negative prompt for the model's second text encoder. Default: `negative_prompt`.
    """
    size: NotRequired[str | None]
    """
    `WIDTHxHEIGHT` in pixels, one of the model's sizes, or `auto`.
    """
    output_size: NotRequired[str | None]
    """
    `WIDTHxHEIGHT` of the result before `postprocess`, at most 4096 px a side. The image is generated at `size`, scaled to cover this size, and cropped around its centre. Default: `size`.
    """
    steps: NotRequired[int | None]
    """
    Number of denoising steps.
    """
    guidance_scale: NotRequired[float | None]
    """
    How closely the images follow the prompt.
    """
    true_cfg_scale: NotRequired[float | None]
    """
    Classifier-free guidance of a distilled model, which doubles its time. 1 is none.
    """
    clip_skip: NotRequired[int | None]
    """
    Number of the text encoder's last layers that are left out. AUTOMATIC1111 counts from 1.
    """
    eta: NotRequired[float | None]
    """
    Share of new noise in each step, for schedulers such as `ddim`. 0 adds none.
    """
    max_sequence_length: NotRequired[int | None]
    """
    Number of tokens of a prompt that the model reads at most.
    """
    scheduler: NotRequired[str | None]
    """
    Sampler, such as `euler_a`, one of the model's `choices`. Default: the model's own.
    """
    loras: NotRequired[Sequence[Lora] | None]
    """
    Up to 8 of the model's `loras`, each with a weight. Default: none.
    """
    control: NotRequired[Sequence[Control] | None]
    """
    Up to 4 images that guide the layout, such as edges or a pose, each with one of the types of the model's `controls`. Default: none.
    """
    reference_images: NotRequired[Sequence[ReferenceImage] | None]
    """
    Images whose content or style the result takes up: by one of the model's `ip_adapters`, or as further input images of an edit, for models that take several. A mask is for `image`. Default: none.
    """
    hires: NotRequired[Hires | None]
    """
    A second pass that enlarges the image and draws details at the larger size. Default: none.
    """
    tiling: NotRequired[bool | None]
    """
    Seamless images: opposite edges match, as those of a texture. Default: false.
    """
    refiner: NotRequired[Refiner | None]
    """
    A second denoiser that draws the last steps, one of the model's `refiners`.
    """
    seed: NotRequired[int | None]
    """
    Seed of the first image; image i has seed + i. Default: random.
    """
    deterministic: NotRequired[bool | None]
    """
    Generate each image alone: neighbours on the device may change the last bits of its colours.
    """
    quality: NotRequired[Literal["auto", "low", "medium", "high", "xhigh", "max"]]
    """
    Effort for an image: one of the model's `qualities`. It may stand for a number of `steps`.
    """
    style: NotRequired[Literal["vivid", "natural"] | None]
    """
    Style of the images, one of the model's `styles`. Default: none.
    """
    background: NotRequired[Literal["transparent", "opaque", "auto"] | None]
    """
    Background of the images. A provider's model may make it transparent, and a model with a network for it.
    """
    moderation_level: NotRequired[Literal["low", "auto"] | None]
    """
    Moderation level of a provider. Default: that of the catalogue.
    """
    input_fidelity: NotRequired[Literal["high", "low"] | None]
    """
    How closely a provider keeps to the input images of an edit.
    """
    output_format: NotRequired[Literal["png", "webp", "jpeg"]]
    """
    File format of the images.
    """
    output_compression: NotRequired[int | None]
    """
    Quality of webp and jpeg files, in percent.
    """
    strength: NotRequired[float | None]
    """
    How much an edit changes `image`, up to 1 (nothing of it remains).
    """
    postprocess: NotRequired[Postprocess | None]
    """
    Filters for the generated images.
    """
    partial_images: NotRequired[int]
    """
    Number of previews of each image in the job's events during generation.
    """
    model: NotRequired[str | None]
    """
    Name or alias of a model; see `GET /v1/models`. Default: the catalogue's default model.
    """
    n: NotRequired[int]
    """
    Number of images, each with its own seed.
    """
    priority: NotRequired[int]
    """
    Jobs of your project with a higher priority are executed first; single jobs always before batches. Among projects, only a priority below 0, or what SAFELIGHT_MAX_PRIORITY allows, has an effect.
    """
    expires_after: NotRequired[int | None]
    """
    Seconds after which the job expires if it has not started.
    """
    metadata: NotRequired[Mapping[str, str]]
    """
    Up to 16 key-value pairs of your choice. Lists of jobs can be filtered by them.
    """
    operation: NotRequired[Literal["generation", "edit", "variation"]]
    """
    `generation` from a prompt, `edit` of an image, or `variation` of an image.
    """
    image: NotRequired[ImageSource | None]
    """
    Input image of an edit or a variation. It is cropped around its centre and scaled.
    """
    mask: NotRequired[ImageSource | None]
    """
    Area that an edit may change: the fully transparent pixels or, in an opaque mask, the white ones. It has the same size as `image`. Default: the transparent pixels of `image`, or all if it has none.
    """
    webhook: NotRequired[JobWebhook | None]
    """
    URL that receives the events of this job.
    """


class MethodRequest(TypedDict):
    """
    How the model is trained.
    """

    type: NotRequired[Literal["supervised"]]
    """
    OpenAI's other methods are for text.
    """
    supervised: NotRequired[SupervisedMethod | None]


class BatchRequest(TypedDict):
    """
    Many requests together: one of `input_file_id`, `prompts` and `requests`, and parameters for all of them.
    """

    negative_prompt: NotRequired[str | None]
    """
    What the images should not show.
    """
    prompt_2: NotRequired[str | None]
    """
    Prompt for the model's second text encoder. Default: `prompt`.
    """
    negative_prompt_2: NotRequired[str | None]
    """
    Negative prompt for the model's second text encoder. Default: `negative_prompt`.
    """
    size: NotRequired[str | None]
    """
    `WIDTHxHEIGHT` in pixels, one of the model's sizes, or `auto`.
    """
    output_size: NotRequired[str | None]
    """
    `WIDTHxHEIGHT` of the result before `postprocess`, at most 4096 px a side. The image is generated at `size`, scaled to cover this size, and cropped around its centre. Default: `size`.
    """
    steps: NotRequired[int | None]
    """
    Number of denoising steps.
    """
    guidance_scale: NotRequired[float | None]
    """
    How closely the images follow the prompt.
    """
    true_cfg_scale: NotRequired[float | None]
    """
    Classifier-free guidance of a distilled model, which doubles its time. 1 is none.
    """
    clip_skip: NotRequired[int | None]
    """
    Number of the text encoder's last layers that are left out. AUTOMATIC1111 counts from 1.
    """
    eta: NotRequired[float | None]
    """
    Share of new noise in each step, for schedulers such as `ddim`. 0 adds none.
    """
    max_sequence_length: NotRequired[int | None]
    """
    Number of tokens of a prompt that the model reads at most.
    """
    scheduler: NotRequired[str | None]
    """
    Sampler, such as `euler_a`, one of the model's `choices`. Default: the model's own.
    """
    loras: NotRequired[Sequence[Lora] | None]
    """
    Up to 8 of the model's `loras`, each with a weight. Default: none.
    """
    control: NotRequired[Sequence[Control] | None]
    """
    Up to 4 images that guide the layout, such as edges or a pose, each with one of the types of the model's `controls`. Default: none.
    """
    reference_images: NotRequired[Sequence[ReferenceImage] | None]
    """
    Images whose content or style the result takes up: by one of the model's `ip_adapters`, or as further input images of an edit, for models that take several. A mask is for `image`. Default: none.
    """
    hires: NotRequired[Hires | None]
    """
    A second pass that enlarges the image and draws details at the larger size. Default: none.
    """
    tiling: NotRequired[bool | None]
    """
    Seamless images: opposite edges match, as those of a texture. Default: false.
    """
    refiner: NotRequired[Refiner | None]
    """
    A second denoiser that draws the last steps, one of the model's `refiners`.
    """
    seed: NotRequired[int | None]
    """
    Seed of the first image; image i has seed + i. Default: random.
    """
    deterministic: NotRequired[bool | None]
    """
    Generate each image alone: neighbours on the device may change the last bits of its colours.
    """
    quality: NotRequired[Literal["auto", "low", "medium", "high", "xhigh", "max"]]
    """
    Effort for an image: one of the model's `qualities`. It may stand for a number of `steps`.
    """
    style: NotRequired[Literal["vivid", "natural"] | None]
    """
    Style of the images, one of the model's `styles`. Default: none.
    """
    background: NotRequired[Literal["transparent", "opaque", "auto"] | None]
    """
    Background of the images. A provider's model may make it transparent, and a model with a network for it.
    """
    moderation_level: NotRequired[Literal["low", "auto"] | None]
    """
    Moderation level of a provider. Default: that of the catalogue.
    """
    input_fidelity: NotRequired[Literal["high", "low"] | None]
    """
    How closely a provider keeps to the input images of an edit.
    """
    output_format: NotRequired[Literal["png", "webp", "jpeg"]]
    """
    File format of the images.
    """
    output_compression: NotRequired[int | None]
    """
    Quality of webp and jpeg files, in percent.
    """
    strength: NotRequired[float | None]
    """
    How much an edit changes `image`, up to 1 (nothing of it remains).
    """
    postprocess: NotRequired[Postprocess | None]
    """
    Filters for the generated images.
    """
    partial_images: NotRequired[int]
    """
    Number of previews of each image in the job's events during generation.
    """
    model: NotRequired[str | None]
    """
    Name or alias of a model; see `GET /v1/models`. Default: the catalogue's default model.
    """
    n: NotRequired[int]
    """
    Number of images, each with its own seed.
    """
    priority: NotRequired[int]
    """
    Jobs of your project with a higher priority are executed first; single jobs always before batches. Among projects, only a priority below 0, or what SAFELIGHT_MAX_PRIORITY allows, has an effect.
    """
    input_file_id: NotRequired[str | None]
    """
    File with purpose `batch`: JSONL as at OpenAI, CSV or Excel (`.xlsx`) with a header, or a text with one prompt per line. The format, the separator and the encoding are recognised by the content.
    """
    extra_columns: NotRequired[Literal["refuse", "metadata"]]
    """
    What happens to columns of a table that are no parameters: they are an error, or each becomes an entry of the `metadata` of the jobs.
    """
    prompts: NotRequired[Sequence[str] | None]
    """
    Prompts, one per line of the batch. They share all other parameters.
    """
    requests: NotRequired[Sequence[Mapping[str, Any]] | None]
    """
    Request bodies for the endpoint, each with an optional `custom_id`.
    """
    endpoint: NotRequired[
        Literal["/v1/images/generations", "/v1/images/edits", "/v1/images/variations", "/v1/jobs"] | None
    ]
    """
    Endpoint of the lines. Default: `/v1/jobs` for requests, else `/v1/images/generations`.
    """
    completion_window: NotRequired[str]
    """
    Maximum time in hours, up to 168h. Jobs that are still queued then expire.
    """
    output_expires_after: NotRequired[OutputExpiresAfter | None]
    """
    When the output files are deleted. Default: with the finished jobs.
    """
    response_format: NotRequired[Literal["url", "b64_json"]]
    """
    Images in the output file: links that are valid for days, or base64.
    """
    metadata: NotRequired[Mapping[str, str]]
    """
    Up to 16 key-value pairs of your choice.
    """
    webhook: NotRequired[BatchWebhook | None]
    """
    URL that receives the events of this batch.
    """


class FineTuningRequest(TypedDict):
    """
    A request to fine-tune a model.
    """

    training_file: str
    """
    Id of a file with purpose `fine-tune`: JSON lines of `image` and `text`, or a ZIP of images.
    """
    model: str
    """
    Name or alias of a model that may be fine-tuned; see `fine_tuning` in `GET /v1/models`.
    """
    suffix: NotRequired[str | None]
    """
    Part of the name of the new model: 1 to 64 letters, digits, `-` or `_`.
    """
    seed: NotRequired[int | None]
    """
    Seed of the training: the same seed, images and hyperparameters make the same LoRA. Default: random.
    """
    metadata: NotRequired[Mapping[str, str] | None]
    """
    Up to 16 key-value pairs of your choice.
    """
    method: NotRequired[MethodRequest | None]
    """
    The method, with its hyperparameters.
    """
    hyperparameters: NotRequired[HyperparametersRequest | None]
    """
    OpenAI's earlier place of the hyperparameters. Not beside those of `method`.
    """
    validation_file: NotRequired[str | None]
    """
    Accepted with a warning: nothing is validated by it.
    """
    integrations: NotRequired[Sequence[Mapping[str, Any]] | None]
    """
    Accepted with a warning: there are none.
    """
