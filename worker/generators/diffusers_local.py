"""A generator for the image pipelines of diffusers, loaded from a folder beside the catalogue or from the hub.

It loads a pipeline, calls it, and translates its images and errors. `operations.py` chooses the pipeline for a request,
and `parameters.py` builds the arguments of its call. Weights are loaded from safetensors only, and no code of a model
is run. No device is used before `load()`, so a worker may fork after it has built its generators.
"""

import logging
from collections.abc import Hashable, Sequence
from traceback import format_exception
from typing import Any, Final, NoReturn

import diffusers
import torch
from PIL import Image

from core.catalog import Model
from core.generation import ImageRequest, ImagesRejected, Memory, Notice, ProgressReporter, Stopped
from core.generation_errors import DeviceFailed, GenerationError, GeneratorFailed, ModelUnavailable, OutOfMemory
from core.model_files.fine_tuned import fine_tuned_directory
from core.parameters.hires import Hires
from core.parameters.job import dimensions_of
from core.settings import Settings
from worker.generators import controls, ip_adapters, matting, memory, refiners, upscalers
from worker.generators.cache import cache_of_call, uses_cache
from worker.generators.component_files import estimated_bytes
from worker.generators.denoiser import denoisers, report_steps
from worker.generators.device_errors import is_device_failure, is_out_of_memory, raise_device_error
from worker.generators.devices import device_of, dtype_of
from worker.generators.guidance import guidance_notices
from worker.generators.loras import Loras
from worker.generators.operations import Operations
from worker.generators.options import clear_caches
from worker.generators.packages import missing_package, quieten
from worker.generators.parameters import call_arguments, call_options, requested_steps
from worker.generators.preprocess import Preprocessors
from worker.generators.previews import callbacks
from worker.generators.results import DecoderWatch, checked_images, checked_latents
from worker.generators.second_pass import Call, draw_twice, second_request
from worker.generators.shared_components import SharedComponents
from worker.generators.sharing import may_share, sharing_key
from worker.generators.source import check_loadable, digest, find, load_pipeline
from worker.generators.threads import CORES, threads_of
from worker.generators.tiling import circular_padding
from worker.generators.truncation import truncation_notices
from worker.generators.unclip.pipeline import UnclipPipeline
from worker.generators.warm_up import Silence, warm_up_requests
from worker.generators.words import Words

_log = logging.getLogger(__name__)

_FIXED: Final = "bitsandbytes"  # its weights cannot be moved from the device for which they were quantised


class DiffusersGenerator:
    """Generates images with one diffusers pipeline.

    Options of the model: `dtype` (float32, float16, bfloat16) and `variant` of the weight files (such as fp16). Any
    other option, such as Qwen-Image's true_cfg_scale, is an argument of each call and must be one of its parameters.
    """

    def __init__(self, model: Model, settings: Settings) -> None:
        self._model = model
        self._settings = settings
        self._pipe: Any = None
        self._shared: SharedComponents | None = None
        self._is_in_ram = False
        self._operations: Operations | None = None
        self._loras: Loras | None = None
        self._controls: controls.Controls | None = None
        self._ip_adapters: ip_adapters.IpAdapters | None = None
        self._refiners: refiners.Refiners | None = None
        self._upscalers: upscalers.Upscalers | None = None
        self._foreground: matting.Foreground | None = None
        self._second_pass: dict[str, str] = {}  # what receipts say of it, and of the background, after a call
        self._weights: dict[str, str] = {}  # LoRAs and IP-Adapters of all passes of the last call
        self._receipt: dict[str, str] = {}
        self._preprocessors: Preprocessors | None = None
        self._control_digests: dict[str, str] = {}  # of the networks of the last call
        self._used_cache = True  # by the last call, of which there is none yet
        self._words = Words.load(settings.models_dir / model.words) if model.words else None
        self._threads = settings.torch_threads

    def check(self) -> None:
        """Check the packages and the class of the model; see `core.generation.Generator`."""
        check_loadable(self._model, self._settings.models_dir)

    def load(self) -> None:
        """Load the weights to the device; see `core.generation.Generator`."""
        self._load_operations()

    def unload(self) -> None:
        """Free the memory of the weights; see `core.generation.Generator`."""
        self._operations = self._loras = self._controls = self._ip_adapters = self._pipe = None
        self._preprocessors = self._refiners = self._upscalers = self._foreground = None
        self._is_in_ram = False
        memory.free(device_of(self._settings.device))
        if self._shared is not None:
            self._shared.release()

    def move_to_ram(self) -> bool:
        """Move the weights to RAM, but not those that other models have on the device too."""
        if self._operations is None or any(kind.startswith(_FIXED) for kind in self._model.quantization.values()):
            return False
        shared = [] if self._shared is None else self._shared.leave_device()
        self._move(torch.device("cpu"), shared)
        self._is_in_ram = True
        memory.free(device_of(self._settings.device))
        return True

    def _move(self, device: torch.device, exceptions: Sequence[torch.nn.Module] = ()) -> None:
        """Move all networks to a device, except some. Those of an offloaded pipeline move by themselves."""
        if self._is_offloaded:
            self._pipe.maybe_free_model_hooks()
        components = [] if self._is_offloaded else memory.modules_of(self._pipe)
        memory.move([*components, *self._networks], device, exceptions)

    @property
    def _networks(self) -> list[torch.nn.Module]:
        """Those beside the components of the pipeline."""
        readers = (self._controls, self._preprocessors, self._ip_adapters)
        parts = (*readers, self._refiners, self._upscalers, self._foreground)
        return [network for part in parts if part is not None for network in part.networks]

    @property
    def _is_offloaded(self) -> bool:
        return self._model.offload != "none" and device_of(self._settings.device).type != "cpu"

    def memory(self) -> Memory:
        """The bytes of the networks, or of the files from which they would be loaded."""
        device = device_of(self._settings.device)
        capacity, name = memory.capacity(device), memory.device_name(device)
        if self._pipe is not None:
            size = memory.size_of([*memory.modules_of(self._pipe), *self._networks])
            if self._is_offloaded:
                return Memory(memory.largest(self._pipe), capacity, name, ram=size)
            return Memory(size, capacity, name, {} if self._shared is None else self._shared.sizes())
        files = find(self._model, self._settings.models_dir)
        dtype = dtype_of(self._model, device)
        sizes = estimated_bytes(files.folder, files.checkpoint, self._model, dtype)
        if self._is_offloaded:
            return Memory(max(sizes.values(), default=0), capacity, name)
        size = sum(sizes.values())
        for part in (controls, ip_adapters, refiners, upscalers, matting):
            size += part.estimated_bytes(self._model, self._settings.models_dir, dtype)
        return Memory(size, capacity, name, SharedComponents(self._model, files, device, dtype).sizes())

    def _load_operations(self) -> Operations:
        """The pipelines; loads them the first time."""
        if self._is_in_ram:
            self._return_to_device()
        if self._operations is None:
            try:
                self._operations = self._new_operations()
                if self._model.compile != "none" and "generation" in self._model.operations:
                    for request in warm_up_requests(self._model):
                        self.generate([request], Silence())
            except Exception:  # the weights may be on the device, where nothing would count them
                self.unload()
                raise
        return self._operations

    def _return_to_device(self) -> None:
        """Move the weights from RAM to the device. Raises OutOfMemory, DeviceFailed."""
        device = device_of(self._settings.device)
        try:
            self._move(device)
        except Exception as error:
            self.unload()
            raise_device_error(error, f"Model {self._model.id}")
            raise
        if self._shared is not None:
            self._shared.use(self._pipe)
        self._is_in_ram = False

    def _new_operations(self) -> Operations:
        """Load the pipeline, and make those of its tasks. A failure may leave weights on the device."""
        quieten()
        self._threads = self._settings.torch_threads
        device = device_of(self._settings.device)
        dtype = dtype_of(self._model, device)
        files = find(self._model, self._settings.models_dir)
        self._shared = SharedComponents(self._model, files, device, dtype)
        components = self._shared.networks()
        self._pipe, receipt = load_pipeline(self._model, files, self._settings.models_dir, device, dtype, components)
        del components
        self._shared.use(self._pipe)
        self._pipe.set_progress_bar_config(disable=True)
        if not denoisers(self._pipe):
            name = type(self._pipe).__name__
            raise ModelUnavailable(f"Model {self._model.id}: {name} has no denoiser whose steps could be counted.")
        call_options(self._model, self._pipe)
        if self._model.controls:
            self._controls = controls.Controls(self._model, self._pipe, self._settings.models_dir, device, dtype)
            self._preprocessors = Preprocessors(self._model, self._settings.models_dir, device, dtype)
        operations = Operations(self._model, self._pipe, self._controls)
        folder = self._settings.models_dir
        self._upscalers = upscalers.Upscalers(self._model, folder, device, dtype)
        if self._model.matting is not None:
            self._foreground = matting.Foreground(self._model, folder, device, dtype)
        if self._model.refiners:
            self._refiners = refiners.Refiners(self._model, self._pipe, folder, device, dtype)
        if self._model.ip_adapters:
            self._ip_adapters = ip_adapters.IpAdapters(self._model, self._pipe, folder, device, dtype)
        if self._model.loras or self._model.fine_tuning:
            self._loras = Loras(self._model, self._pipe, folder, fine_tuned_directory(self._settings))
        self._threads = self._threads or threads_of(self._pipe)
        if isinstance(self._pipe, UnclipPipeline):
            # If the catalogue sets `dtype`, the operator wants the arithmetic in this type.
            is_parallel = device.type == "cpu" and self._threads == 1
            self._pipe.spread_over(CORES if is_parallel else 1, autocast="dtype" not in self._model.options)
            dtype = self._pipe.arithmetic
        self._receipt = {
            "model": self._model.id,
            "revision": files.commit or digest(files),
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "device": str(device),
            "dtype": str(dtype).removeprefix("torch."),
            **receipt,
        }
        return operations

    def generate(self, requests: Sequence[ImageRequest], reporter: ProgressReporter) -> Sequence[Image.Image]:
        """Generate one image per request, in one or two calls of a pipeline; see `core.generation.Generator`."""
        if not requests:
            return []
        if not may_share([self.sharing_key(request) for request in requests]):
            raise GeneratorFailed(f"{len(requests)} requests must not share a call of model {self._model.id}.")
        self._used_cache = False
        self._control_digests = self._digests_of_controls(requests[0])
        self._second_pass, self._weights = {}, {}
        try:
            return self._results(requests, reporter)
        except (Stopped, ImagesRejected, GenerationError):
            raise
        except Exception as error:  # of the networks before, between and after the calls of pipelines
            failure = self._failure(error, requests)
        self._raise(failure)

    def _results(self, requests: Sequence[ImageRequest], reporter: ProgressReporter) -> Sequence[Image.Image]:
        try:
            images: Sequence[Any] = self._draw_all(requests, reporter)
        except ImagesRejected as rejection:
            raise ImagesRejected(self._cut_out(requests, rejection.results)) from None
        return self._cut_out(requests, images)

    def _raise(self, failure: Exception) -> NoReturn:
        """Outside the handler of the error, so that the failure does not reference the error and its frames."""
        if isinstance(failure, OutOfMemory):
            memory.free(torch.device(self._receipt["device"]))
        raise failure

    def _cut_out(self, requests: Sequence[ImageRequest], results: Sequence[Any]) -> list[Any]:
        """The same images, without their background where a request says so."""
        return [
            self._foreground.cut_out(result)
            if request.parameters.background == "transparent"
            and self._foreground is not None
            and isinstance(result, Image.Image)
            else result
            for request, result in zip(requests, results, strict=True)
        ]

    def _draw_all(self, requests: Sequence[ImageRequest], reporter: ProgressReporter) -> Sequence[Image.Image]:
        """Generate one image per request, in one or two calls of a pipeline."""
        if requests[0].parameters.background == "transparent" and self._foreground is not None:
            self._second_pass = {"background": "transparent", "matting": self._foreground.digest}
        if (hires := requests[0].parameters.hires) is not None:
            if self._upscalers is not None and (digest := self._upscalers.digest(hires.upscaler)) is not None:
                self._second_pass |= {f"upscaler {hires.upscaler}": digest}
            return draw_twice(self._draw, self._enlarge, requests, hires, reporter)
        if (refiner := requests[0].parameters.refiner) is not None and self._refiners is not None:
            base = self._load_operations().pipeline(requests[0])
            self._second_pass |= self._refiners.digests(refiner)
            return self._refiners.draw(self._draw, base, requests, reporter)
        return self._draw(requests, reporter, Call())

    def _enlarge(self, image: Any, hires: Hires) -> Any:
        """The image of a first pass, or its latents, at the size of the second."""
        if hires.upscaler in upscalers.LATENT:
            width, height = dimensions_of(str(hires.size))
            return upscalers.enlarge_latents(image, hires.upscaler, width, height, self._pipe.vae_scale_factor)
        if self._upscalers is None:  # the model is not loaded
            raise GeneratorFailed(f"Model {self._model.id} has no upscalers.")
        return self._upscalers.enlarge(image, hires)

    def _draw(self, requests: Sequence[ImageRequest], reporter: ProgressReporter, call: Call) -> Sequence[Any]:
        """Generate one image per request, or its latents, in one call of the pipeline."""
        operations = self._load_operations()
        pipe = operations.pipeline(requests[0]) if call.pipe is None else call.pipe
        if self._preprocessors is not None:
            requests = self._preprocessors.prepare(requests)
        options = call_options(self._model, pipe) if call.pipe is None else {}
        arguments = call_arguments(self._model, pipe, options, requests) | dict(call.arguments)
        if call.latents is not None:
            arguments["image"] = torch.stack(list(call.latents))
        if call.keeps_latents:
            arguments["output_type"] = "latent"
        arguments |= callbacks(pipe, reporter, requests[0].width, requests[0].height)
        # Set for each call: OpenMP stores the number per calling thread.
        torch.set_num_threads(self._threads)
        try:
            if self._loras is not None:
                self._loras.use(requests[0].parameters.loras or ())
                digests = self._loras.digests.items()
                self._weights |= {f"lora {name}": f"sha256:{digest}" for name, digest in digests}
            if self._ip_adapters is not None:
                arguments |= self._ip_adapters.use(pipe, requests[0])
                self._weights |= self._ip_adapters.digests
            clear_caches(pipe)
            steps = requested_steps(pipe, arguments)
            self._used_cache = self._used_cache or uses_cache(self._model, pipe)
            with (
                cache_of_call(self._model, pipe, requests[0].steps),
                torch.inference_mode(),
                controls.seeded(pipe, requests[0]),
                circular_padding(pipe, requests[0].parameters.tiling),
                report_steps(pipe, reporter, steps),
                DecoderWatch(pipe) as watch,
            ):
                output = pipe(**arguments)
                return (
                    checked_latents(pipe, output, requests)
                    if call.keeps_latents
                    else checked_images(output, requests, watch)
                )
        except (Stopped, ImagesRejected, GenerationError) as error:
            # The frames of the traceback reference the latents. Without it, the latents are freed at once.
            failure: Exception = error.with_traceback(None)
        except Exception as error:  # a pipeline may raise anything
            failure = self._failure(error, requests)
        self._raise(failure)

    def _digests_of_controls(self, request: ImageRequest) -> dict[str, str]:
        """What a receipt says of the networks that read and make a request's control images."""
        networks = {} if self._controls is None else self._controls.digests(request)
        makers = {} if self._preprocessors is None else self._preprocessors.digests(request)
        receipt = {f"control {kind}": digest for kind, digest in networks.items()}
        return receipt | {f"preprocess {kind}": digest for kind, digest in makers.items()}

    def sharing_key(self, request: ImageRequest) -> Hashable | None:
        """By the classes of the pipelines; see `sharing.py`. A request that no pipeline can do is alone."""
        operations = self._load_operations()
        try:
            key = self._sharing_key(operations.pipeline(request), request)
            hires = request.parameters.hires
            if key is None or hires is None:
                return key
            second = second_request(request, hires, None)
            second_key = self._sharing_key(operations.pipeline(second), second)
            return None if second_key is None else (key, second_key)
        except GenerationError:
            return None

    def _sharing_key(self, pipe: Any, request: ImageRequest) -> Hashable | None:
        """That of the pipeline, with the LoRAs, which act on all images of a call."""
        key = sharing_key(pipe, request)
        if self._model.cache is not None and self._model.cache.looks_at_batch and uses_cache(self._model, pipe):
            return None
        loras = tuple((lora.name, lora.weight) for lora in request.parameters.loras or ())
        return None if key is None else (key, loras)

    def notices(self, request: ImageRequest) -> Sequence[Notice]:
        """Notices of a prompt that is not read to its end or has no effect, and of words that the model does not know.

        See `core.generation.Generator`.
        """
        pipe = self._load_operations().pipeline(request)
        notices = list(truncation_notices(pipe, self._model.options, request))
        notices += guidance_notices(self._model, pipe, request)
        if self._words is not None and (notice := self._words.notice(request.prompt, "prompt")) is not None:
            notices.append(notice)
        return notices

    def receipt(self) -> dict[str, str]:
        """Model revision, library versions, device, dtype, and what the last call used; loads the model.

        The latter are LoRAs, control networks and the cache.
        """
        self.load()
        receipt = {name: value for name, value in self._receipt.items() if name != "cache" or self._used_cache}
        return receipt | self._weights | self._control_digests | self._second_pass

    def _failure(self, error: Exception, requests: Sequence[ImageRequest]) -> GenerationError:
        """The job's error for an error of the pipeline."""
        if is_out_of_memory(error):
            size = f"{requests[0].width}x{requests[0].height}"
            device = self._receipt["device"]
            return OutOfMemory(f"{len(requests)} image(s) of {size} do not fit into the memory of {device}.")
        if (package := missing_package(error)) is not None:
            return ModelUnavailable(f"Model {self._model.id} needs the package {package}: pip install {package}")
        # Logged as text: a record with the exception would reference the latents until every handler is done with it.
        _log.error("Model %s failed:\n%s", self._model.id, "".join(format_exception(error)))
        message = f"Model {self._model.id} failed: {type(error).__name__}: {error}"
        if is_device_failure(error):
            return DeviceFailed(message)
        if isinstance(error, ValueError | TypeError):
            return GenerationError(message)  # the request is wrong for this pipeline; another attempt would fail too
        return GeneratorFailed(message)
