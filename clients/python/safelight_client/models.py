"""The objects in responses. Made from the OpenAPI document by `python clients/generate.py`: do not edit."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class AdminBulkCount(BaseModel):
    """
    How many jobs a filter matches.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["admin.bulk_count"] = "admin.bulk_count"
    action: Literal["cancel", "retry"] | str
    jobs: int
    is_exact: bool
    """
    False: there may be more; the newest of each status were counted.
    """
    token: str
    """
    Send it to change these jobs, and no later ones.
    """


class AdminBulkStep(BaseModel):
    """
    What a call has changed.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["admin.bulk_step"] = "admin.bulk_step"
    action: Literal["cancel", "retry"] | str
    jobs: int
    """
    Jobs that were cancelled, or submitted again.
    """
    skipped_jobs: Mapping[str, int]
    """
    Jobs that could not be retried, by reason.
    """
    token: str | None
    """
    Send it for the next jobs. Null: all are done.
    """


class AdminCrashedJob(BaseModel):
    """
    A job whose worker died, or that was in the same micro-batch.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["admin.crashed_job"] = "admin.crashed_job"
    id: str
    project_id: str
    batch_id: str | None
    model: str
    status: str
    crashes: int
    """
    Attempts whose lease ran out.
    """
    attempts: int
    error_code: str | None
    workers: Sequence[str]
    """
    All workers that claimed it.
    """
    created_at: int
    crashed_at: int | None
    """
    When the sweep took the job back last.
    """


class AdminCrashedJobList(BaseModel):
    """
    A page of jobs that crashed workers, the newest first. Get the next page with `after=<last_id>`.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[AdminCrashedJob]
    first_id: str | None
    last_id: str | None
    has_more: bool


class AdminDeadDelivery(BaseModel):
    """
    A webhook delivery without a further attempt. The codes are those of the last attempt.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["admin.dead_delivery"] = "admin.dead_delivery"
    id: str
    project_id: str
    job_id: str | None
    batch_id: str | None
    endpoint_id: str | None
    """
    Null: the webhook of the job or batch itself.
    """
    destination: str
    """
    The endpoint, or scheme and host of the URL of a job.
    """
    event_type: str
    attempts: int
    status_code: int | None
    error_code: str | None
    created_at: int
    finished_at: int


class AdminDeadDestination(BaseModel):
    """
    How many deliveries to a destination are dead.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    project_id: str
    destination: str
    deliveries: int
    last_finished_at: int


class AdminFailures(BaseModel):
    """
    How many jobs of a model failed with a code, within a bucket of time.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["admin.failures"] = "admin.failures"
    start_time: int
    end_time: int
    code: str
    model: str
    jobs: int


class AdminFailuresList(BaseModel):
    """
    Failures, the newest bucket first. A bucket without failures is left out.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[AdminFailures]
    is_complete: bool
    """
    False: there are more failures; the newest 100000 are counted.
    """


class AdminMicrobatch(BaseModel):
    """
    Jobs that a worker claimed together.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    job_ids: Sequence[str]
    model: str
    started_at: int
    lease_expires_at: int


class AdminPause(BaseModel):
    """
    What a call has done to a queue or a worker.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["admin.pause"] = "admin.pause"
    kind: Literal["queue", "worker"] | str
    name: str
    state: Literal["running", "paused", "draining", "drained"] | str


class AdminQueue(BaseModel):
    """
    A queue, with the jobs of all projects.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["admin.queue"] = "admin.queue"
    name: str
    state: Literal["running", "paused", "draining", "drained"] | str
    """
    `paused`: nothing is claimed; jobs are accepted. `draining`: jobs are refused, and those that wait are worked off; then it is `drained`.
    """
    depth: int
    """
    Jobs that wait, counted up to 100000.
    """
    in_progress: int
    oldest_seconds: float | None
    """
    How long the oldest job that waits has been in the database.
    """
    finished_per_minute: float
    """
    Jobs that ended in the last five minutes, per minute.
    """
    drain_seconds: float | None
    """
    Until the jobs that wait have ended at this rate. Null: nothing is claimed, or nothing ended.
    """
    workers: int
    ready_workers: int
    """
    Workers that have loaded their first model.
    """


class AdminQueueList(BaseModel):
    """
    All queues of the catalogue, and those that have jobs, workers or a pause.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[AdminQueue]


class AdminSlowJob(BaseModel):
    """
    A job that ended, and its durations in seconds.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["admin.slow_job"] = "admin.slow_job"
    id: str
    project_id: str
    batch_id: str | None
    model: str
    status: str
    attempts: int
    finished_at: int
    wait_seconds: float | None
    """
    From the submit to the last claim. Null: it never started.
    """
    run_seconds: float | None
    """
    The last attempt.
    """
    total_seconds: float


class AdminSlowJobList(BaseModel):
    """
    The slowest jobs, the slowest first.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[AdminSlowJob]


class AdminStorage(BaseModel):
    """
    What a project stores.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["admin.storage"] = "admin.storage"
    project_id: str
    images: int
    image_bytes: int
    files: int
    file_bytes: int
    models: int
    """
    Fine-tuned models, with those of checkpoints.
    """
    model_bytes: int
    bytes: int
    """
    Of images, files and models together.
    """
    counted_at: int | None


class AdminStorageList(BaseModel):
    """
    What projects store, as the sweep has counted it; those with the most bytes come first.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[AdminStorage]


class AdminWorker(BaseModel):
    """
    A worker that runs.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["admin.worker"] = "admin.worker"
    name: str
    """
    Host and process id.
    """
    host: str
    queues: Sequence[str]
    state: Literal["running", "paused", "draining", "drained"] | str
    """
    `paused` and `draining`: it claims nothing. `drained`: it drains and has no micro-batch in hand.
    """
    is_ready: bool
    """
    Whether it has loaded its first model.
    """
    is_idle: bool
    """
    Whether it has no micro-batch in hand.
    """
    device: str | None
    """
    Name of its device. Null: no model is loaded yet, or it has no device.
    """
    loaded_models: Sequence[str]
    """
    Models on the device; the one that was used last comes last.
    """
    resident_bytes: int | None
    """
    RAM of the process.
    """
    device_bytes: int | None
    """
    Weights of the loaded models.
    """
    device_capacity_bytes: int | None
    """
    What weights may take together. Null: not limited.
    """
    microbatches: Sequence[AdminMicrobatch]
    """
    The micro-batches in hand, the oldest first.
    """
    job_ids: Sequence[str]
    """
    The jobs of the micro-batches in hand.
    """
    models: Sequence[str]
    """
    The models of these jobs.
    """
    started_at: int | None
    """
    When the oldest micro-batch in hand was claimed.
    """
    lease_expires_at: int | None
    last_heartbeat_at: int | None
    """
    Null: a worker of an earlier version.
    """
    valid_until: int
    """
    The worker renews it at each heartbeat; it is gone if it does not.
    """


class AdminWorkerList(BaseModel):
    """
    All workers that run.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[AdminWorker]


class ApiKeyActor(BaseModel):
    """
    The key of an actor.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str


class AttemptObject(BaseModel):
    """
    An attempt of a delivery.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    number: int
    started_at: int
    seconds: float
    status_code: int | None
    error_code: str | None
    """
    `http_error`: the response was not 2xx. Otherwise why none came: `timeout`, `no_answer`, `connection_failed`, `name_not_found`, `destination_refused`, `certificate_expired`, `certificate_wrong_host`, `certificate_untrusted`, `tls_failed`.
    """
    answer: str | None
    """
    The beginning of the response body.
    """


class BatchError(BaseModel):
    """
    An error in a line.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    line: int | None
    """
    Line number, from 1; null if the error is not about a single line.
    """
    code: str
    param: str | None
    message: str


class BatchErrors(BaseModel):
    """
    The errors, up to a maximum number.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[BatchError]


class BatchImagesAnswer(BaseModel):
    """
    The enlarged images as PNG in base64, and what of the request is not honoured.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    images: Sequence[str]
    html_info: str


class BatchProgress(BaseModel):
    """
    The rate of a batch. The fields are null while there is too little data.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    lines_per_second: float | None
    """
    Finished lines per second, over the last minute.
    """
    estimated_finish_at: int | None
    """
    Estimated end at this rate.
    """


class BatchUrls(BaseModel):
    """
    URLs of the batch.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    self: str
    cancel: str
    events: str
    images: str
    manifest: str


class CachedTokens(BaseModel):
    """
    Tokens that came from a cache.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    cached_tokens: int = 0
    cache_write_tokens: int = 0


class CheckpointMetrics(BaseModel):
    """
    The metrics at a checkpoint.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    step: int
    train_loss: float | None = None


class CheckpointObject(BaseModel):
    """
    A checkpoint of a fine-tuning job.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    """
    Name of the model at this step, which requests can have.
    """
    fine_tuning_job_id: str
    step_number: int
    metrics: CheckpointMetrics


class ControlObject(BaseModel):
    """
    A type of control images of a model.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    type: str
    weight: float
    """
    Default weight.
    """
    description: str
    """
    What its control images show.
    """
    is_required: bool
    """
    Whether the model draws only with such an image.
    """
    preprocess: Literal["none", "canny", "depth", "lineart", "pose", "tile"] | str
    """
    Default of what is made of the image first.
    """


class CostAmount(BaseModel):
    """
    An amount of money.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    value: float
    currency: Literal["usd"] = "usd"


class CostsResult(BaseModel):
    """
    The cost of a bucket: what providers charged. Images of local models cost nothing.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["organization.costs.result"] = "organization.costs.result"
    amount: CostAmount
    line_item: str | None
    """
    The model.
    """
    project_id: str | None
    api_key_id: str | None


class Deleted(BaseModel):
    """
    The response of a deletion.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: str
    deleted: Literal[True] = True


class DeletedResponse(BaseModel):
    """
    The result of a deletion.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class DeliveryObject(BaseModel):
    """
    The delivery of an event to a webhook.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    webhook_endpoint_id: str | None
    """
    Null: the webhook of the job or batch itself.
    """
    job_id: str | None
    batch_id: str | None
    event_id: str
    event_type: str
    status: str
    """
    `pending`, `delivered` or `failed`.
    """
    attempts: int
    next_attempt_at: int | None
    status_code: int | None
    """
    The status code of the latest attempt.
    """
    error_code: str | None
    """
    The error of the latest attempt, or why the delivery was aborted.
    """
    created_at: int
    finished_at: int | None


class DeliveryWithAttempts(BaseModel):
    """
    A delivery with all its attempts.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    webhook_endpoint_id: str | None
    """
    Null: the webhook of the job or batch itself.
    """
    job_id: str | None
    batch_id: str | None
    event_id: str
    event_type: str
    status: str
    """
    `pending`, `delivered` or `failed`.
    """
    attempts: int
    next_attempt_at: int | None
    status_code: int | None
    """
    The status code of the latest attempt.
    """
    error_code: str | None
    """
    The error of the latest attempt, or why the delivery was aborted.
    """
    created_at: int
    finished_at: int | None
    log: Sequence[AttemptObject]


class DetectAnswer(BaseModel):
    """
    The control images as PNG in base64, in the size of the images.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    images: Sequence[str]
    info: str = "Success"


class Difference(BaseModel):
    """
    A value of a receipt that differs; null where a receipt does not have it.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    original: Any
    reproduction: Any


class EndpointDeleted(BaseModel):
    """
    An endpoint was deleted.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: Literal[True] = True


class EndpointObject(BaseModel):
    """
    A webhook endpoint, in OpenAI's format.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    name: str
    url: str
    event_types: Sequence[str]
    signing_secret_hint: str
    enabled: bool
    disabled_reason: str | None
    """
    Why the endpoint is disabled; null if it is enabled.
    """
    failing_since: int | None
    """
    When deliveries started to fail; null if the last one succeeded.
    """
    created_at: int
    updated_at: int


class EndpointWithSecret(BaseModel):
    """
    An endpoint with its secret, which is returned only once.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    name: str
    url: str
    event_types: Sequence[str]
    signing_secret_hint: str
    enabled: bool
    disabled_reason: str | None
    """
    Why the endpoint is disabled; null if it is enabled.
    """
    failing_since: int | None
    """
    When deliveries started to fail; null if the last one succeeded.
    """
    created_at: int
    updated_at: int
    signing_secret: str


class ErasureObject(BaseModel):
    """
    An erasure: what is deleted, and how much has been.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["erasure"] = "erasure"
    kind: Literal["job", "batch", "user", "project"] | str
    status: Literal["in_progress", "completed"] | str
    job_id: str | None = None
    """
    Set if it is of a job.
    """
    batch_id: str | None = None
    """
    Set if it is of a batch, or of a job that was a line.
    """
    counts: Mapping[str, int]
    """
    What has been deleted so far, by kind.
    """
    created_at: int
    finished_at: int | None


class ErrorBody(BaseModel):
    """
    An error in OpenAI's format.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorObject(BaseModel):
    """
    An error.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    error: str
    """
    The code of the error; see docs/reference/errors.md.
    """
    detail: str
    """
    What is wrong, and what to do.
    """
    body: str = ""
    errors: str
    """
    The same as `detail`.
    """


class ErrorResponse(BaseModel):
    """
    The body of every response with a status of 400 or above.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    error: ErrorBody


class Estimate(BaseModel):
    """
    The response of a dry run.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["job.estimate"] = "job.estimate"
    model: str
    size: str
    steps: int
    guidance_scale: float
    n: int
    device_seconds: float
    """
    Estimated device time: what the last such images took, or from the catalogue if there are none.
    """
    estimated_finish_at: int | None
    """
    Estimated end if one device generates the images after all queued jobs; null for paid providers.
    """


class EventTypeList(BaseModel):
    """
    All event types.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[str]


class FileObject(BaseModel):
    """
    A file of a project, in OpenAI's format.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    """
    Time at which the file is deleted. Null: never.
    """
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: str | None = None


class FineTuningError(BaseModel):
    """
    Why a job failed.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    code: str
    message: str
    param: str | None = None


class FineTuningEventObject(BaseModel):
    """
    An event of a fine-tuning job.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"] | str
    type: Literal["message", "metrics"] | str
    message: str
    data: Mapping[str, Any]
    """
    Of `metrics`: step, total_steps, train_loss, learning_rate.
    """


class FineTuningSpec(BaseModel):
    """
    Defaults and bounds of trainings of a model.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    steps: int = 500
    """
    Steps of a training whose number of epochs is `auto`.
    """
    max_steps: int = 10000
    """
    Maximum number of steps.
    """
    batch_size: int = 4
    """
    Images of a step whose `batch_size` is `auto`.
    """
    max_batch_size: int = 32
    learning_rate: float = 0.0001
    """
    For a `learning_rate_multiplier` of 1.
    """
    rank: int = 16
    """
    Rank of the LoRA; a higher one learns more and makes a larger file.
    """
    max_rank: int = 64
    """
    Maximum rank. At 64, a LoRA of SDXL has some 370 MB.
    """
    resolution: int | None = None
    """
    Side of the images in pixels, a multiple of 8. Default: that of the model's default size.
    """
    max_resolution: int | None = None
    """
    Maximum of `resolution` in a request: memory grows with its square. Default: the default.
    """
    seconds_per_step: float = 1.0
    """
    Device-seconds of a step; for `estimated_finish`, and for what a training reserves of a limit.
    """


class FreeSizes(BaseModel):
    """
    The bounds of free sizes, all included. Sides are in pixels.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    multiple: int = 16
    """
    Both sides are multiples of it.
    """
    min_side: int = 256
    """
    The shortest side.
    """
    max_side: int = 2048
    """
    The longest side.
    """
    min_pixels: int = 1
    """
    The smallest area, in pixels.
    """
    max_pixels: int = 16777216
    """
    The largest area, in pixels.
    """


class Guidance(BaseModel):
    """
    Classifier-free guidance scale (`w` of equation 2 of Imagen, arXiv:2205.11487): the default and the bounds.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    min: float = 0.0
    max: float = 30.0


class Health(BaseModel):
    """
    The process responds.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    status: Literal["ok"] = "ok"


class Hires(BaseModel):
    """
    The second pass of a request: by `scale`, or to `width` and `height`. `{}` takes the model's defaults.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    scale: float | None = None
    """
    Factor for both sides. Default: the largest that the model allows.
    """
    width: int | None = None
    """
    Width of the result in pixels, with `height`, instead of `scale`.
    """
    height: int | None = None
    """
    Height of the result in pixels.
    """
    strength: float | None = None
    """
    How much the second pass changes the enlarged image.
    """
    steps: int | None = None
    """
    Denoising steps, of which the second pass does the share `strength`. Default: `steps`.
    """
    upscaler: str = "lanczos"
    """
    How the image is enlarged: `lanczos`, or another of the model's `hires.upscalers`.
    """


class HyperparametersObject(BaseModel):
    """
    The hyperparameters. OpenAI's three are as the request has them until the training file is read.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    n_epochs: Literal["auto"] | int = "auto"
    batch_size: Literal["auto"] | int = "auto"
    learning_rate_multiplier: Literal["auto"] | float = "auto"
    steps: int | None = None
    learning_rate: float | None = None
    rank: int | None = None
    resolution: int | None = None


class ImageData(BaseModel):
    """
    An image in OpenAI's format: `url` or `b64_json`, never both. What has no value is absent, not null.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    url: str | None = None
    b64_json: str | None = None
    seed: int


class ImageGenerationCall(BaseModel):
    """
    The call of the tool: the image.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    """
    Send it in the input of a later request to edit the image.
    """
    type: Literal["image_generation_call"] = "image_generation_call"
    status: Literal["in_progress", "generating", "completed", "failed"] | str
    result: str | None = None
    """
    The image in base64.
    """
    action: Literal["generate", "edit"] | str
    background: str
    output_format: str
    quality: str
    size: str
    revised_prompt: str | None = None
    """
    The prompt of the image.
    """


class ImageObject(BaseModel):
    """
    A generated image.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["image"] = "image"
    job_id: str
    index: int
    url: str
    """
    Link that works without an API key until it expires. `GET /v1/images/{id}/content` always works.
    """
    media_type: str
    width: int
    height: int
    bytes: int
    sha256: str
    seed: int
    receipt: Mapping[str, Any]
    """
    How it was generated: model revision, versions, device, seconds.
    """
    created_at: int


class ImageReproduction(BaseModel):
    """
    How an image compares with the one that it draws again.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    image_id: str
    reproduces: str
    """
    Id of the original image.
    """
    identical: bool | None
    """
    Whether all pixels are equal. Null: `reason` says why it is not known.
    """
    same_file: bool | None = None
    """
    Whether the files are equal, metadata included.
    """
    psnr_db: float | None = None
    """
    Peak signal-to-noise ratio, in dB. Null if the pixels are equal or the sizes differ.
    """
    max_difference: int | None = None
    """
    Largest difference of a channel, 0 to 255.
    """
    differences: Mapping[str, Difference]
    """
    What the receipts say differently: revision, versions, device, dtype, size of the micro-batch.
    """
    reason: str | None = None
    """
    Why the images could not be compared.
    """


class ImageSource(BaseModel):
    """
    An input image. Set exactly one field. The image is read when the job is submitted.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    file_id: str | None = None
    """
    Id of a file, uploaded with `POST /v1/files` and purpose `vision`.
    """
    image_id: str | None = None
    """
    Id of an image of an earlier job.
    """
    image_url: str | None = None
    """
    A data URL, `data:image/png;base64,...`. Other URLs are not fetched.
    """


class ImageUrl(BaseModel):
    """
    The link of the image.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    image_url: str
    """
    A link that works without an API key until it expires.
    """
    job_id: str


class ImagesAnswer(BaseModel):
    """
    The images of a call.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    images: Sequence[str]
    """
    The images in base64; PNG files have the infotext. Empty: send_images false.
    """
    parameters: Mapping[str, Any]
    """
    The fields of the request, with the webui's defaults.
    """
    info: str
    """
    JSON: `seed`, `all_seeds`, `all_prompts`, `infotexts` and so on, as the webui; and `job_id` and `warnings`, which say what of the request is not honoured in full.
    """


class ImagesResult(BaseModel):
    """
    The images of a bucket. A field that the request did not group by is null.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["organization.usage.images.result"] = "organization.usage.images.result"
    images: int
    num_model_requests: int
    """
    Jobs and trainings that ended after they had started.
    """
    project_id: str | None
    user_id: Annotated[None, Field(None)] = None
    api_key_id: str | None
    model: str | None
    size: str | None
    source: str | None
    """
    `image.generation`, `image.edit`, `image.variation` or `fine_tuning`.
    """
    bytes: int
    """
    Size of the images, or of the models of a training.
    """
    device_seconds: float
    """
    Device time, failed and cancelled jobs included.
    """


class InputFileSummary(BaseModel):
    """
    How the input file was read. Check it if the encoding is a guess.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    format: Literal["jsonl", "csv", "txt", "xlsx"] | str
    encoding: str | None
    """
    Encoding of a text; null for an Excel file.
    """
    encoding_is_guess: bool
    """
    Whether the file names no encoding and is not UTF-8, so that it was guessed.
    """
    example: str | None
    """
    If the encoding is a guess: a text of the file, as it was read. Null if the batch has jobs, which show their prompts.
    """
    separator: str | None
    """
    Separator of the cells of CSV; null if there is one column.
    """
    sheet: str | None
    """
    Name of the worksheet.
    """
    has_header: bool | None
    """
    Whether a table has a header; null for other formats.
    """
    empty_rows: int
    """
    Number of empty rows, which are ignored.
    """
    metadata_columns: Sequence[str]
    """
    Columns that are stored as metadata of the jobs.
    """


class InputTokens(BaseModel):
    """
    The input tokens by type.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    image_tokens: int = 0
    text_tokens: int = 0


class IpAdapterSpec(BaseModel):
    """
    An IP-Adapter of a model in the catalogue.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    name: str
    weight: float = 0.6
    description: str = ""
    """
    What it takes from its images, such as the style.
    """


class JobError(BaseModel):
    """
    Why a job failed.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    code: str
    """
    One of the codes in docs/reference/errors.md.
    """
    message: str


class JobInput(BaseModel):
    """
    An input image of a job. `GET /v1/files/{file_id}/content` returns it.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    file_id: str


class JobUrls(BaseModel):
    """
    URLs of the job.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    self: str
    cancel: str
    events: str


class JobWarning(BaseModel):
    """
    A warning about a job that is executed all the same.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    code: str
    message: str
    param: str | None
    """
    The field of the request that the warning is about.
    """


class KeyDeleted(BaseModel):
    """
    A key was revoked.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["organization.project.api_key.deleted"] = "organization.project.api_key.deleted"
    id: str
    deleted: Literal[True] = True


class KeyObject(BaseModel):
    """
    An API key without its secret part, in OpenAI's format.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["organization.project.api_key"] = "organization.project.api_key"
    id: str
    name: str
    redacted_value: str
    scopes: Sequence[str]
    is_valid: bool
    """
    Whether the key is neither revoked nor expired.
    """
    created_at: int
    last_used_at: int | None
    expires_at: int | None
    """
    When the key expires or expired; null: never.
    """
    revoked_at: int | None


class KeyWithValue(BaseModel):
    """
    A key with its value, which is returned only once.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["organization.project.api_key"] = "organization.project.api_key"
    id: str
    name: str
    redacted_value: str
    scopes: Sequence[str]
    is_valid: bool
    """
    Whether the key is neither revoked nor expired.
    """
    created_at: int
    last_used_at: int | None
    expires_at: int | None
    """
    When the key expires or expired; null: never.
    """
    revoked_at: int | None
    value: str


class LatentModeItem(BaseModel):
    """
    A way to enlarge latents.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    name: str


class LimitObject(BaseModel):
    """
    The limits of a project or key and what it uses. A limit that is null does not apply.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["limit"] = "limit"
    subject_id: str
    limits: Mapping[str, float | None]
    use: Mapping[str, float]
    """
    As it was last counted; at least what is true.
    """


class Lora(BaseModel):
    """
    A LoRA of the model, and how strongly it acts. `name:weight` is read too, for forms and the command line.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    name: str
    """
    One of the model's, or a model that your project has fine-tuned.
    """
    weight: float | None = None
    """
    0 changes nothing. Default: the catalogue's weight of the LoRA.
    """


class LoraItem(BaseModel):
    """
    A LoRA of a model.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    name: str
    alias: str
    path: str
    metadata: Mapping[str, str]


class LoraSpec(BaseModel):
    """
    A LoRA of a model in the catalogue.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    name: str
    weight: float = 1.0
    trigger: str = ""
    """
    Words of a prompt with which the LoRA was trained.
    """


class ModelItem(BaseModel):
    """
    A model of the catalogue.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    title: str
    model_name: str
    hash: str | None = None
    sha256: str | None = None
    filename: str
    config: str | None = None


class ModelListAnswer(BaseModel):
    """
    The types of control images of all models.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    model_list: Sequence[str]


class ModuleListAnswer(BaseModel):
    """
    What can be made of a control image.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    module_list: Sequence[str]
    module_detail: Mapping[str, Mapping[str, Any]]


class OutputText(BaseModel):
    """
    Text of a message.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    type: Literal["output_text"] = "output_text"
    text: str = ""
    annotations: Sequence[Mapping[str, Any]] = []
    logprobs: Sequence[Mapping[str, Any]] = []


class ParameterBounds(BaseModel):
    """
    What a model allows for a parameter that only some models have.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    min: int | float | None = None
    """
    Null: the parameter's own.
    """
    max: int | float | None = None
    """
    Null: the parameter's own.
    """


class PngInfoAnswer(BaseModel):
    """
    The texts of an image file.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    info: str
    """
    The infotext; empty without one.
    """
    items: Mapping[str, str]
    """
    The other texts.
    """
    parameters: Mapping[str, str]
    """
    The fields of the infotext.
    """


class Postprocess(BaseModel):
    """
    Filters for the generated image, always applied in this order. `{}` does nothing.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    denoise: float | None = None
    """
    Strength of noise reduction, 0 to 1. It smooths even areas and keeps edges. 0 changes nothing.
    """
    upscale: Literal[2, 4] | None = None
    """
    Factor for both sides. Edges stay sharp, without halos. No side may exceed 4096 px.
    """
    sharpen: float | None = None
    """
    Strength of sharpening, 0 to 1. It raises the contrast of edges. 0 changes nothing.
    """


class Progress(BaseModel):
    """
    The newest of the caller's open calls.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    progress: float
    """
    From 0 to 1; 0 also while the job waits, and if there is none (`job_count` 0).
    """
    eta_relative: float
    """
    Estimated seconds until the end.
    """
    state: Mapping[str, Any]
    """
    `job` (its id), `job_count`, `sampling_step`, `sampling_steps` and so on.
    """
    current_image: str | None = None
    """
    The last preview as PNG in base64, if there is one.
    """
    textinfo: str | None = None


class ProjectOfEvent(BaseModel):
    """
    The project that an event belongs to.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str


class Queue(BaseModel):
    """
    The queue of a model.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    name: str = ""
    """
    Models that share a queue wait for the same workers.
    """
    state: Literal["ready", "loading", "no_worker", "paused", "draining"] | str = "no_worker"
    """
    `loading`: no worker has loaded its first model yet. `no_worker` and `paused`: jobs are accepted, and wait. `draining`: jobs are refused.
    """
    queued: int = 0
    in_progress: int = 0
    device_seconds: float = 0.0
    """
    Estimated device time of all queued and running jobs.
    """


class Readiness(BaseModel):
    """
    The state of each dependency, and of each queue.

    `degraded`: requests are served, but Redis is down, so that jobs start with some delay, or a queue has no worker or
    is paused, so that its jobs wait, or it is drained and accepts none.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    status: Literal["ready", "degraded", "unready"] | str
    checks: Mapping[str, Literal["ok", "down"] | str]
    queues: Mapping[str, Literal["ok", "loading", "no_worker", "paused", "draining"] | str]
    """
    Whether workers serve the queues of the models. `loading`: each of them loads its first model. `paused` and `draining`: an operator has paused the queue, or drains it.
    """


class ReasoningTokens(BaseModel):
    """
    Tokens of a text model's reasoning.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    reasoning_tokens: int = 0


class ReceiptFile(BaseModel):
    """
    The file of the image.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    sha256: str
    bytes: int
    media_type: str
    width: int
    height: int


class ReceiptInput(BaseModel):
    """
    An input image of the job.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    role: str
    """
    `image`, `mask`, or `image_2` and so on for reference images.
    """
    file_id: str
    sha256: str | None
    """
    Of the bytes that the worker read. Null: the image is from version 0.1.
    """


class ReceiptTiming(BaseModel):
    """
    When the image was made and how long it took.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    created_at: int
    """
    Time at which the job was submitted.
    """
    started_at: int | None
    """
    Start of the attempt that made the image.
    """
    finished_at: int | None
    device_seconds: float | None
    """
    Time of the whole micro-batch on the device.
    """
    processing_seconds: float | None
    """
    CPU time of the filters and of writing the file.
    """


class Redelivered(BaseModel):
    """
    The number of events that are redelivered.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["webhook_endpoint.redelivery"] = "webhook_endpoint.redelivery"
    webhook_endpoint_id: str
    events: int


class ReferenceImage(BaseModel):
    """
    A reference image. Set exactly one of file_id, image_id and image_url.

    A text stands for an image too, also `adapter:weight=image`, for forms and the command line.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    file_id: str | None = None
    """
    Id of a file, uploaded with `POST /v1/files` and purpose `vision`.
    """
    image_id: str | None = None
    """
    Id of an image of an earlier job.
    """
    image_url: str | None = None
    """
    A data URL, `data:image/png;base64,...`. Other URLs are not fetched.
    """
    adapter: str | None = None
    """
    The IP-Adapter that reads it, one of the model's `ip_adapters`. Default: the first.
    """
    weight: float | None = None
    """
    How strongly it acts, by an IP-Adapter. Default: the catalogue's weight of the adapter.
    """


class Refiner(BaseModel):
    """
    The refiner of a request. `{}` takes the model's first.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    model: str | None = None
    """
    One of the model's `refiners`. Default: the first.
    """
    switch_at: float | None = None
    """
    The share of the steps after which it begins. Default: the catalogue's.
    """


class RefinerSpec(BaseModel):
    """
    A refiner of a model in the catalogue.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    name: str
    switch_at: float = 0.8
    description: str = ""


class Reproduces(BaseModel):
    """
    What a job draws again.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    job_id: str
    image_ids: Sequence[str]
    """
    The original of each image of the job.
    """


class Reproduction(BaseModel):
    """
    Whether a job has drawn the same images again.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    identical: bool | None
    """
    Whether all images are identical. Null: one could not be compared.
    """
    images: Sequence[ImageReproduction]


class RequestCounts(BaseModel):
    """
    The number of lines by status. The last six always add up to `total`.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    total: int
    """
    Number of lines; 0 until all of them are validated.
    """
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    queued: int = 0
    in_progress: int = 0


class ResponseFailure(BaseModel):
    """
    Why there is no image.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    code: str
    """
    One of OpenAI's codes.
    """
    message: str
    type: str
    """
    One of the codes in docs/reference/errors.md.
    """


class ResponseUsage(BaseModel):
    """
    Tokens of the text model. All zero: there is none.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    input_tokens: int = 0
    input_tokens_details: CachedTokens | None = None
    output_tokens: int = 0
    output_tokens_details: ReasoningTokens | None = None
    total_tokens: int = 0


class SamplerItem(BaseModel):
    """
    A sampler that a model has.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    name: str
    aliases: Sequence[str]
    options: Mapping[str, str]


class SchedulerItem(BaseModel):
    """
    A schedule of noise levels.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    name: str
    label: str
    aliases: Sequence[str] | None = None
    default_rho: float = -1.0
    need_inner_model: bool = False


class SearchUsage(BaseModel):
    """
    Searches. There are none.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    num_requests: int = 0


class SelfTestResult(BaseModel):
    """
    Whether an image of the model has the same bytes alone and in a micro-batch, as a worker found at load.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    size: str
    images: int
    """
    Images of the micro-batch. 1: images of this model are always alone.
    """
    difference: int
    """
    The largest difference of a colour value, of 255. 0: the bytes are equal.
    """


class SettingsAnswer(BaseModel):
    """
    How many units a request may have.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    control_net_unit_count: int


class SingleImageAnswer(BaseModel):
    """
    The enlarged image as PNG in base64, and what of the request is not honoured.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    image: str
    html_info: str


class StepProgress(BaseModel):
    """
    The current denoising step.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    step: int
    steps: int
    attempt: int


class Steps(BaseModel):
    """
    Denoising steps: the default and the bounds, both included.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    min: int = 1
    max: int = 100


class StyleItem(BaseModel):
    """
    A style of a model.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    name: str
    prompt: str
    negative_prompt: str = ""


class SupervisedMethodObject(BaseModel):
    """
    The hyperparameters of the method.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    hyperparameters: HyperparametersObject


class TestResult(BaseModel):
    """
    The response to a test event.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: Literal[True] = True


class Upscaler(BaseModel):
    """
    A network that enlarges images, in the catalogue.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    name: str
    description: str = ""


class UpscalerItem(BaseModel):
    """
    A way to enlarge an image.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    name: str
    model_name: str | None = None
    model_path: str | None = None
    model_url: str | None = None
    scale: float = 4.0


class Usage(BaseModel):
    """
    Tokens that the provider counts and bills. All zero for local models.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: InputTokens | None = None


class Verdict(BaseModel):
    """
    The result of the moderation of a job.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    outcome: Literal["pass", "reject"] | str
    checks: Sequence[str]
    """
    The checks that ran, such as `words` or `openai`.
    """
    check: str | None = None
    """
    The check that rejected the job. Absent if it passed.
    """
    stage: Literal["prompt", "input", "image"] | str | None = None
    """
    What was rejected: the prompt, an input image, or an image.
    """
    categories: Sequence[str] | None = None
    """
    The categories of a rejection, with OpenAI's names, such as `violence`.
    """


class VersionAnswer(BaseModel):
    """
    The version of the extension's API.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    version: int


class WebhookOfJob(BaseModel):
    """
    A webhook without its secret.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    url: str
    events: Sequence[str]


class Actor(BaseModel):
    """
    Who acted: an API key, or the command line of the server. `none`: somebody without a valid key.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    type: Literal["api_key", "command", "none"] | str
    api_key: ApiKeyActor | None = None


class AdminDeadDeliveryList(BaseModel):
    """
    A page of dead deliveries, the newest first. Get the next page with `after=<last_id>`.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[AdminDeadDelivery]
    destinations: Sequence[AdminDeadDestination]
    """
    By destination, of the newest 10000; those with the most come first.
    """
    first_id: str | None
    last_id: str | None
    has_more: bool


class AuditLog(BaseModel):
    """
    An event of the audit log. Its details are in a field that is named like its type.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["organization.audit_log"] = "organization.audit_log"
    id: str
    type: (
        Literal[
            "api_key.created",
            "api_key.deleted",
            "webhook_endpoint.created",
            "webhook_endpoint.deleted",
            "webhook_endpoint.secret_rotated",
            "file.deleted",
            "job.deleted",
            "batch.deleted",
            "fine_tuned_model.deleted",
            "user.erased",
            "admin.called",
            "jobs.cancelled",
            "jobs.retried",
            "pause.begun",
            "pause.ended",
            "api_key.refused",
        ]
        | str
    )
    """
    What happened.
    """
    effective_at: int
    actor: Actor
    project: ProjectOfEvent | None = None


class AuditLogList(BaseModel):
    """
    A page of the audit log, newest first. Get the next page with `after=<last_id>`.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[AuditLog]
    first_id: str | None
    last_id: str | None
    has_more: bool


class BatchEstimate(BaseModel):
    """
    The response of a dry run.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["batch.estimate"] = "batch.estimate"
    total: int
    """
    Number of lines.
    """
    images: int
    """
    Number of images of the valid lines.
    """
    models: Mapping[str, int]
    """
    Number of lines by model.
    """
    device_seconds: float
    """
    Estimated device time of the valid lines, as for a job.
    """
    estimated_finish_at: int | None
    """
    Estimated end if one device generates the images after all queued jobs; null for paid providers.
    """
    cost_usd: float | None
    """
    Estimated charge of a provider, from the cost of your recent images; null if it is not known.
    """
    input: InputFileSummary | None = None
    """
    How the input file was read; null for a batch without a file.
    """
    errors: BatchErrors


class BatchObject(BaseModel):
    """
    Many jobs submitted together: their progress, and the files with their results.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    """
    The model, if all lines have the same.
    """
    status: (
        Literal["validating", "failed", "in_progress", "cancelling", "finalizing", "completed", "expired", "cancelled"]
        | str
    )
    """
    The status of a batch, with OpenAI's names.
    """
    errors: BatchErrors | None
    """
    The invalid lines, if the validation failed. No line was executed then.
    """
    input_file_id: str | None
    completion_window: str
    output_file_id: str | None
    """
    JSONL file with the responses of the completed lines.
    """
    error_file_id: str | None
    """
    JSONL file with the errors of the other lines.
    """
    created_at: int
    in_progress_at: int | None
    expires_at: int
    """
    Jobs that are still queued then expire.
    """
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: Mapping[str, str]
    input: InputFileSummary | None
    """
    How the input file was read; null until then, and for a batch without a file.
    """
    progress: BatchProgress | None
    """
    Set while the batch is in progress.
    """
    device_seconds: float
    """
    Estimated device time of all lines.
    """
    parameters: Mapping[str, Any]
    """
    The parameters for all lines.
    """
    webhook: WebhookOfJob | None
    retried_from: str | None
    """
    The batch whose unsuccessful lines this batch retries.
    """
    api_key_id: str | None = None
    """
    The API key that submitted the batch; absent without one.
    """
    urls: BatchUrls


class BucketCostsResult(BaseModel):
    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: Sequence[CostsResult]


class BucketImagesResult(BaseModel):
    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: Sequence[ImagesResult]


class CheckpointList(BaseModel):
    """
    A page of checkpoints, the last one first.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[CheckpointObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Control(BaseModel):
    """
    A control image. `type=image` and `type:weight=image` are read too, for forms and the command line.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    type: str
    """
    One of the model's `controls`.
    """
    image: ImageSource | None
    """
    The control image, such as the edges of a photo. It is cropped and scaled to `size`.
    """
    weight: float | None = None
    """
    How strongly it acts. Default: the catalogue's weight of the type.
    """
    preprocess: Literal["none", "canny", "depth", "lineart", "pose", "tile"] | str | None = None
    """
    What is made of the image first: `canny` (edges), `depth`, `lineart`; `tile` and `none` only scale it. Default: the catalogue's for the type.
    """
    start: float = 0.0
    """
    The share of the steps after which it begins.
    """
    end: float = 1.0
    """
    The share of the steps after which it ends.
    """


class DeliveryList(BaseModel):
    """
    A page of deliveries.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[DeliveryObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class EndpointList(BaseModel):
    """
    A page of endpoints.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[EndpointObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileList(BaseModel):
    """
    A page of files. Get the next page with `after=<last_id>`.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FineTuningEventList(BaseModel):
    """
    A page of events, newest first.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[FineTuningEventObject]
    has_more: bool


class HiresSpec(BaseModel):
    """
    The bounds of a model's second pass.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    max_scale: float = 2.0
    strength: float = 0.5
    multiple: int = 16
    """
    Both sides are multiples of it.
    """
    upscalers: Sequence[
        Literal["lanczos"]
        | Literal[
            "latent",
            "latent_antialiased",
            "latent_bicubic",
            "latent_bicubic_antialiased",
            "latent_nearest",
            "latent_nearest_exact",
        ]
        | str
    ] = ["lanczos"]
    """
    Values of `upscaler`, beside the names of `networks`.
    """
    networks: Annotated[Sequence[Upscaler], Field(validate_default=True)] = []
    """
    Networks that enlarge images, as values of `upscaler`.
    """


class ImageTokens(BaseModel):
    """
    Tokens of the image, if a provider generated it.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    input_tokens: int = 0
    input_tokens_details: InputTokens | None = None
    output_tokens: int = 0
    total_tokens: int = 0


class ImagesResponse(BaseModel):
    """
    OpenAI's response, with the additional fields `job_id` and `seed`.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    created: int
    data: Sequence[ImageData]
    background: Literal["opaque", "transparent"] | str = "opaque"
    output_format: Literal["png", "webp", "jpeg"] | str
    quality: str | None = None
    """
    Quality according to the provider. Absent for local models.
    """
    size: str
    usage: Usage
    safety_identifier: str | None = None
    job_id: str
    warnings: Sequence[JobWarning] | None = None
    """
    What of the request is not honoured in full; absent if there is nothing.
    """


class JobObject(BaseModel):
    """
    A job: a request for n images with its parameters, status, progress and images.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["job"] = "job"
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled", "expired"] | str
    """
    The status of a job. The reason for it is in the job's `error` and in the event's `reason`.
    """
    operation: str
    model: str
    prompt: str
    n: int
    negative_prompt: str | None = None
    """
    What the images should not show.
    """
    prompt_2: str | None = None
    """
    Prompt for the model's second text encoder. Default: `prompt`.
    """
    negative_prompt_2: str | None = None
    """
    Negative prompt for the model's second text encoder. Default: `negative_prompt`.
    """
    size: str
    output_size: str | None = None
    """
    `WIDTHxHEIGHT` of the result before `postprocess`, at most 4096 px a side. The image is generated at `size`, scaled to cover this size, and cropped around its centre. Default: `size`.
    """
    steps: int
    guidance_scale: float
    true_cfg_scale: float | None = None
    """
    Classifier-free guidance of a distilled model, which doubles its time. 1 is none.
    """
    clip_skip: int | None = None
    """
    Number of the text encoder's last layers that are left out. AUTOMATIC1111 counts from 1.
    """
    eta: float | None = None
    """
    Share of new noise in each step, for schedulers such as `ddim`. 0 adds none.
    """
    max_sequence_length: int | None = None
    """
    Number of tokens of a prompt that the model reads at most.
    """
    scheduler: str | None = None
    """
    Sampler, such as `euler_a`, one of the model's `choices`. Default: the model's own.
    """
    loras: Sequence[Lora] | None = None
    """
    Up to 8 of the model's `loras`, each with a weight. Default: none.
    """
    control: Sequence[Control] | None = None
    """
    Up to 4 images that guide the layout, such as edges or a pose, each with one of the types of the model's `controls`. Default: none.
    """
    reference_images: Annotated[Sequence[ReferenceImage], Field(validate_default=True)] = []
    """
    Further input images of an edit, and the images of IP-Adapters.
    """
    hires: Hires | None = None
    """
    A second pass that enlarges the image and draws details at the larger size. Default: none.
    """
    tiling: bool | None = None
    """
    Seamless images: opposite edges match, as those of a texture. Default: false.
    """
    refiner: Refiner | None = None
    """
    A second denoiser that draws the last steps, one of the model's `refiners`.
    """
    seed: int
    deterministic: bool | None = None
    """
    Generate each image alone: neighbours on the device may change the last bits of its colours.
    """
    quality: Literal["auto", "low", "medium", "high", "xhigh", "max"] | str = "auto"
    """
    Effort for an image: one of the model's `qualities`. It may stand for a number of `steps`.
    """
    style: Literal["vivid", "natural"] | str | None = None
    """
    Style of the images, one of the model's `styles`. Default: none.
    """
    background: Literal["transparent", "opaque", "auto"] | str | None = None
    """
    Background of the images. A provider's model may make it transparent, and a model with a network for it.
    """
    moderation_level: Literal["low", "auto"] | str | None = None
    """
    Moderation level of a provider. Default: that of the catalogue.
    """
    input_fidelity: Literal["high", "low"] | str | None = None
    """
    How closely a provider keeps to the input images of an edit.
    """
    output_format: Literal["png", "webp", "jpeg"] | str = "png"
    """
    File format of the images.
    """
    output_compression: int | None = None
    """
    Quality of webp and jpeg files, in percent.
    """
    strength: float | None = None
    """
    How much an edit changes `image`, up to 1 (nothing of it remains).
    """
    postprocess: Postprocess | None = None
    """
    Filters for the generated images.
    """
    partial_images: int = 0
    """
    Number of previews of each image in the job's events during generation.
    """
    image: JobInput | None
    """
    Input image of an edit or a variation.
    """
    mask: JobInput | None
    """
    Area that an edit may change. Null: the whole image.
    """
    priority: int
    metadata: Mapping[str, str]
    webhook: WebhookOfJob | None = None
    """
    Webhook for the events of this job.
    """
    progress: StepProgress | None = None
    """
    Denoising step of the current attempt, if known.
    """
    queue_position: int | None = None
    """
    Number of jobs before this one in its queue, up to 1000.
    """
    attempts: int
    images: Sequence[ImageObject]
    error: JobError | None
    warnings: Sequence[JobWarning]
    """
    What of the request is not honoured in full; usually empty. Those of the model come at the end.
    """
    moderation: Verdict | None = None
    """
    The result of moderation, if any check ran.
    """
    retried_from: str | None
    reproduces: Reproduces | None = None
    """
    What the job draws again; absent if nothing.
    """
    reproduction: Reproduction | None = None
    """
    The comparison with the originals, once the job is completed.
    """
    api_key_id: str | None = None
    """
    The API key that submitted the job; absent without one.
    """
    batch_id: str | None = None
    """
    Batch that the job belongs to.
    """
    batch_index: int | None = None
    """
    Index of the job's line in the batch, from 0.
    """
    custom_id: str | None = None
    """
    The `custom_id` of the job's line in the batch.
    """
    cancel_requested_at: int | None
    created_at: int
    started_at: int | None
    """
    Start of the latest attempt.
    """
    finished_at: int | None
    expires_at: int
    """
    Time at which the job expires if it has not started.
    """
    urls: JobUrls


class KeyList(BaseModel):
    """
    A page of keys. Get the next page with `after=<last_id>`.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[KeyObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class LimitList(BaseModel):
    """
    The limits of a project and its key.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[LimitObject]


class MethodObject(BaseModel):
    """
    The method.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    type: Literal["supervised"] = "supervised"
    supervised: SupervisedMethodObject


class ModelReadiness(BaseModel):
    """
    Which workers have a model loaded.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    state: Literal["loaded", "loading", "cold", "unusable", "remote"] | str = "cold"
    """
    `loaded`: by a worker at least. `loading`: a worker loads it now. `cold`: the next job loads it. `unusable`: no worker can load it; see `reason`. `remote`: a provider has it.
    """
    loaded_workers: int = 0
    loading_workers: int = 0
    unusable_workers: int = 0
    """
    Workers that cannot load it.
    """
    bytes: int | None = None
    """
    Memory of its weights, measured. Null: not loaded.
    """
    reason: str | None = None
    """
    Why a worker cannot load it.
    """
    self_test: SelfTestResult | None = None
    """
    Of the worker with the largest difference. Null: the catalogue asks for no self-test.
    """


class OutputMessage(BaseModel):
    """
    The last item of a completed response, with its warnings. Without it, agents would take another turn.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    type: Literal["message"] = "message"
    status: Literal["in_progress", "completed"] | str = "completed"
    role: Literal["assistant"] = "assistant"
    content: Sequence[OutputText]


class PageCostsResult(BaseModel):
    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["page"] = "page"
    data: Sequence[BucketCostsResult]
    has_more: bool
    next_page: str | None


class PageImagesResult(BaseModel):
    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["page"] = "page"
    data: Sequence[BucketImagesResult]
    has_more: bool
    next_page: str | None


class Receipt(BaseModel):
    """
    How an image was made: all that its pixels depend on, and the checksum of its file.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["image.receipt"] = "image.receipt"
    image_id: str
    job_id: str
    index: int
    model: str
    revision: str | None
    """
    Of the weights. Null: a provider does not say.
    """
    operation: str
    prompt: str | None
    """
    Null if a signed link opened the receipt and SAFELIGHT_EMBED_METADATA is false.
    """
    parameters: Mapping[str, Any]
    """
    The parameters that the pixels depend on, with the image's seed.
    """
    inputs: Sequence[ReceiptInput]
    device: str | None
    dtype: str | None
    """
    The type of the arithmetic.
    """
    microbatch: int | None
    """
    Images that were generated together with it, itself included.
    """
    details: Mapping[str, Any]
    """
    What else the generator says: versions, options of loading, prices.
    """
    safelight: str | None
    """
    Version of the worker. Null: the image is from version 0.1.
    """
    timing: ReceiptTiming
    file: ReceiptFile


class ToolUsage(BaseModel):
    """
    What the tools used.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    image_gen: ImageTokens
    web_search: SearchUsage | None = None


class BatchList(BaseModel):
    """
    A page of batches. Get the next page with `after=<last_id>`.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Event(BaseModel):
    """
    The body of a delivery: the event, and the job or batch as it is when the event is sent.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    """
    The same for every attempt, as is the header `webhook-id`: tells repetitions.
    """
    object: Literal["event"] = "event"
    type: str
    """
    `job.completed`, `batch.completed` ...: what happened, and to what.
    """
    created_at: int
    data: JobObject | BatchObject
    """
    The job, with links to its images that work until they expire; or the batch.
    """


class FineTuningJobObject(BaseModel):
    """
    A fine-tuning job.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    model: str
    """
    Id of the base model.
    """
    created_at: int
    finished_at: int | None
    fine_tuned_model: str | None
    """
    Name of the new model; null until the job has succeeded.
    """
    organization_id: str
    """
    Your project.
    """
    result_files: Sequence[str]
    """
    Always empty: the events of the job have the losses.
    """
    status: Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"] | str
    """
    The status of a fine-tuning job, with OpenAI's names.
    """
    validation_file: str | None
    training_file: str
    hyperparameters: HyperparametersObject
    method: MethodObject
    trained_tokens: int | None
    """
    Always null: images are no tokens. See `trained_images`.
    """
    error: FineTuningError | None
    seed: int
    estimated_finish: int | None
    """
    Estimated end of a running training, in Unix seconds.
    """
    integrations: Sequence[Mapping[str, Any]]
    metadata: Mapping[str, str]
    step: int
    """
    Steps that are done.
    """
    total_steps: int | None
    """
    Steps of the training; null until the training file is read.
    """
    trained_images: int | None
    """
    Images of the training file; null until it is read.
    """
    warnings: Sequence[JobWarning]
    """
    What of the request is not honoured.
    """


class JobList(BaseModel):
    """
    A page of jobs. Get the next page with `after=<last_id>`.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[JobObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ModelObject(BaseModel):
    """
    A model that requests can name.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "safelight"
    description: str
    licence: str
    aliases: Sequence[str]
    alias_of: str | None = None
    """
    The id of the model that this name stands for. Null: its own.
    """
    operations: Sequence[str]
    sizes: Sequence[str]
    default_size: str
    free_sizes: FreeSizes | None = None
    """
    Bounds of further sizes. Null: only `sizes`.
    """
    steps: Steps
    guidance_scale: Guidance
    qualities: Sequence[str]
    """
    Values of `quality` beside `auto`.
    """
    styles: Sequence[str]
    """
    Values of `style`.
    """
    choices: Mapping[str, Sequence[str]]
    """
    Values of other parameters that are chosen from a list.
    """
    optional_parameters: Mapping[str, ParameterBounds]
    """
    Parameters that only some models have and this one has, with their defaults and bounds.
    """
    loras: Sequence[LoraSpec]
    """
    LoRAs that `loras` may name: name, default weight, trigger words.
    """
    controls: Sequence[ControlObject]
    """
    Types of images that `control` may have.
    """
    ip_adapters: Sequence[IpAdapterSpec]
    """
    IP-Adapters that `reference_images` may name.
    """
    hires: HiresSpec | None
    """
    Bounds of the second pass; null if there is none.
    """
    fine_tuning: FineTuningSpec | None
    """
    Defaults and bounds of `POST /v1/fine_tuning/jobs`; null if the model cannot be fine-tuned.
    """
    refiners: Sequence[RefinerSpec]
    """
    Refiners that `refiner` may name.
    """
    strength: float
    """
    Default `strength` of an edit.
    """
    max_images: int
    max_input_images: int
    """
    Input images of an edit: `image` and its `reference_images`.
    """
    max_prompt_chars: int
    queue: Queue
    readiness: ModelReadiness
    parameters: Mapping[str, Any] | None = None
    """
    JSON schemas of the parameters that the model supports, by name, with its limits and defaults; `operations` lists the operations that accept each. Only in the answer for a single model.
    """


class ResponseObject(BaseModel):
    """
    OpenAI's response object, with the additional fields `job_id` and `warnings`.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled"] | str
    background: bool | None = None
    """
    Whether this request did not wait; null in later responses.
    """
    error: ResponseFailure | None
    incomplete_details: Annotated[None, Field(None)] = None
    instructions: Annotated[None, Field(None)] = None
    metadata: Mapping[str, str]
    model: str
    """
    The text model that the request named. The image's model is in `tools`.
    """
    output: Sequence[ImageGenerationCall | OutputMessage]
    parallel_tool_calls: bool = False
    previous_response_id: str | None
    temperature: Annotated[None, Field(None)] = None
    tool_choice: Mapping[str, str] | None = None
    tools: Sequence[Mapping[str, Any]]
    top_p: Annotated[None, Field(None)] = None
    usage: ResponseUsage | None
    tool_usage: ToolUsage | None
    job_id: str
    warnings: Sequence[JobWarning]
    """
    What of the request is not honoured in full.
    """


class FineTuningJobList(BaseModel):
    """
    A page of jobs, newest first.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[FineTuningJobObject]
    has_more: bool


class ModelList(BaseModel):
    """
    All models.
    """

    model_config = ConfigDict(
        extra="allow",
    )
    object: Literal["list"] = "list"
    data: Sequence[ModelObject]
