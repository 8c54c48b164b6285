"""The pipeline of unclip-mini: prompt -> CLIP text encoder -> diffusion decoder -> autoencoder -> picture.

It keeps diffusers' calling conventions and its standard folder. Pictures are drawn at 128 px and enlarged to the size
asked for. Each picture has its own generator and is computed from nothing of its neighbours in the batch. The image
encoder is not used to draw from text; its embedding, if given, tells the decoder what the picture should resemble.

Sources: unCLIP, Ramesh et al. 2022 (arXiv:2204.06125); classifier-free guidance, Ho & Salimans 2022 (2207.12598).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from typing import Any, Final, Literal, Self

import numpy
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

from worker.generators.unclip.networks import UnclipAutoencoder, UnclipDecoder
from worker.generators.unclip.prior import UnclipPrior
from worker.generators.unclip.upscaler import UnclipUpscaler

NATIVE_PX: Final = 128
SIZES_PX: Final = (128, 256, 512, 1024)
_END_OF_TEXT: Final = 1

StepEnd = Callable[["UnclipPipeline", int, Tensor, dict[str, Tensor]], dict[str, Tensor]]
Pixels = numpy.ndarray[Any, numpy.dtype[numpy.float32]]


class UnclipPipeline(DiffusionPipeline):  # type: ignore[misc]  # diffusers is untyped
    """Draws pictures from English or Chinese prompts."""

    model_cpu_offload_seq = "text_encoder->decoder->vae"
    _optional_components = ["image_encoder", "prior", "upscaler"]  # noqa: RUF012  # diffusers reads a list
    _callback_tensor_inputs = ["latents", "clean_latents"]  # noqa: RUF012  # diffusers reads a list

    def __init__(
        self,
        tokenizer: CLIPTokenizer,
        text_encoder: CLIPTextModelWithProjection,
        decoder: UnclipDecoder,
        vae: UnclipAutoencoder,
        scheduler: FlowMatchEulerDiscreteScheduler,
        image_encoder: CLIPVisionModelWithProjection | None = None,
        prior: UnclipPrior | None = None,
        upscaler: UnclipUpscaler | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            decoder=decoder,
            vae=vae,
            scheduler=scheduler,
            image_encoder=image_encoder,
            prior=prior,
            upscaler=upscaler,
        )
        self._interrupt = False

    @classmethod
    def from_pretrained(cls, folder: str | PathLike[str], **options: Any) -> Self:
        """Load a folder; single precision unless `dtype` says otherwise, though the files are half."""
        if not options.keys() & {"dtype", "torch_dtype"}:
            options["dtype"] = torch.float32
        pipeline: Self = super().from_pretrained(folder, **options)
        return pipeline

    @property
    def interrupt(self) -> bool:
        """Set `_interrupt` from a callback to leave the remaining steps out."""
        return self._interrupt

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        negative_prompt: str | Sequence[str] | None = None,
        num_inference_steps: int = 18,
        guidance_scale: float = 5.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        height: int = NATIVE_PX,
        width: int = NATIVE_PX,
        num_images_per_prompt: int = 1,
        latents: Tensor | None = None,
        image_embeds: Tensor | None = None,
        output_type: Literal["pil", "np", "pt", "latent"] = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> ImagePipelineOutput | tuple[Any]:
        """Draw `num_images_per_prompt` pictures for each prompt.

        generator: one for all, or one a picture, which makes a picture independent of its batch.
        height, width: equal, and one of 128, 256, 512, 1024.
        image_embeds: (N, embedding), a CLIP image embedding a picture, if the picture should resemble another.
        callback_on_step_end: told `latents` and, if asked, `clean_latents`, the present guess at the finished ones.
        Raises ValueError for a value that is not allowed.
        """
        prompts = _per_picture(prompt, num_images_per_prompt)
        negatives = _negatives(negative_prompt, prompt, num_images_per_prompt)
        _check(len(prompts), height, width, num_inference_steps, generator, output_type)
        guided = guidance_scale > 1
        self._interrupt = False
        device = self._execution_device

        text = self._encode(negatives + prompts if guided else prompts)
        image = self._image_condition(image_embeds, len(prompts), guided)
        latents = self._noise(len(prompts), generator, latents)
        self.scheduler.set_timesteps(
            device=device, sigmas=numpy.linspace(1.0, 1 / num_inference_steps, num_inference_steps)
        )
        with self.progress_bar(total=num_inference_steps) as bar:
            for step, timestep in enumerate(self.scheduler.timesteps):
                if self.interrupt:
                    continue
                time = timestep / self.scheduler.config.num_train_timesteps
                flow = self._flow(latents, time, text, image, guidance_scale)
                clean_latents = latents - time * flow
                latents = self.scheduler.step(flow, timestep, latents, return_dict=False)[0]
                if callback_on_step_end is not None:
                    known = {"latents": latents, "clean_latents": clean_latents}
                    told = {name: known[name] for name in callback_on_step_end_tensor_inputs}
                    latents = callback_on_step_end(self, step, timestep, told).get("latents", latents)
                bar.update()
        images = latents if output_type == "latent" else self._pictures(latents, height, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    @torch.no_grad()
    def preview(self, latents: Tensor) -> list[Image.Image]:
        """Show unfinished pictures at 128 px; best given the `clean_latents` of a step."""
        return self.numpy_to_pil(_to_numpy(self._decode(latents)))  # type: ignore[no-any-return]  # untyped

    def _encode(self, prompts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states (N, T, C), their mask (N, T), and pooled embeddings (N, C)."""
        ids = self.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        ids = ids.to(self._execution_device)
        encoded = self.text_encoder(ids)
        ends = (ids == _END_OF_TEXT).int()
        mask = ends.cumsum(1) - ends == 0  # true up to and including the first end token
        return encoded.last_hidden_state, mask, encoded.text_embeds

    def _image_condition(self, embeds: Tensor | None, count: int, guided: bool) -> tuple[Tensor, Tensor]:
        """Image embeddings (N, C) and which of them are known (N,); guidance's other half never knows any."""
        device, dtype = self._execution_device, self.decoder.dtype
        known = torch.full((count,), embeds is not None, device=device)
        if embeds is None:
            embeds = torch.zeros(count, self.decoder.config.embedding)
        embeds = embeds.to(device, dtype)
        if not guided:
            return embeds, known
        return torch.cat([embeds, embeds]), torch.cat([torch.zeros_like(known), known])

    def _noise(
        self, count: int, generator: torch.Generator | list[torch.Generator] | None, given: Tensor | None
    ) -> Tensor:
        config = self.decoder.config
        shape = (count, config.latent_channels, config.latent_side, config.latent_side)
        if given is None:
            given = randn_tensor(shape, generator=generator, device=self._execution_device, dtype=torch.float32)
        if given.shape != shape:
            raise ValueError(f"latents must have the shape {shape}, not {tuple(given.shape)}")
        return given.to(self._execution_device, torch.float32)

    def _flow(
        self,
        latents: Tensor,
        time: Tensor,
        text: tuple[Tensor, Tensor, Tensor],
        image: tuple[Tensor, Tensor],
        guidance_scale: float,
    ) -> Tensor:
        """The flow at this time, guided away from what the negative prompt says; (N, 8, 16, 16)."""
        states, mask, embeds = text
        guided = len(embeds) > len(latents)
        sample = torch.cat([latents, latents]) if guided else latents
        with _quick(sample.device):
            flow: Tensor = self.decoder(
                sample.to(self.decoder.dtype), time.expand(len(sample)), states, mask, embeds, *image
            )
        if not guided:
            return flow
        without, towards = flow.chunk(2)
        # At the very start the picture is all noise, and full guidance burns the colours.
        scale = guidance_scale if time < 0.97 else 1 + (guidance_scale - 1) / 2
        return without + scale * (towards - without)

    def _decode(self, latents: Tensor) -> Tensor:
        """Pictures (N, 3, 128, 128) in [0, 1]."""
        with _quick(latents.device):
            pictures: Tensor = self.vae.decode(latents.to(self.vae.dtype))
        return (pictures / 2 + 0.5).clamp(0, 1)

    def _pictures(self, latents: Tensor, size: int, output_type: str) -> Any:
        pixels = _enlarge(_to_numpy(self._decode(latents)), size)
        if output_type == "np":
            return pixels
        if output_type == "pt":
            return torch.from_numpy(pixels).permute(0, 3, 1, 2)
        return self.numpy_to_pil(pixels)


def _quick(device: torch.device) -> AbstractContextManager[Any]:
    """Arithmetic in bfloat16 on a CPU that has it: twice as quick, and the eye sees no difference."""
    native = device.type == "cpu" and any(
        torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16")
    )
    return torch.autocast("cpu", torch.bfloat16) if native else nullcontext()


def _per_picture(prompt: str | Sequence[str], count: int) -> list[str]:
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    return [text for text in prompts for _ in range(count)]


def _negatives(negative: str | Sequence[str] | None, prompt: str | Sequence[str], count: int) -> list[str]:
    prompts = 1 if isinstance(prompt, str) else len(prompt)
    if negative is None or isinstance(negative, str):
        return [negative or ""] * prompts * count
    if len(negative) != prompts:
        raise ValueError(f"negative_prompt must have one entry a prompt: {prompts}, not {len(negative)}")
    return _per_picture(negative, count)


def _check(
    count: int,
    height: int,
    width: int,
    steps: int,
    generator: torch.Generator | list[torch.Generator] | None,
    output_type: str,
) -> None:
    if count == 0:
        raise ValueError("prompt must not be empty")
    if height != width or height not in SIZES_PX:
        raise ValueError(f"height and width must be equal and one of {SIZES_PX}, not {height} and {width}")
    if steps < 1:
        raise ValueError(f"num_inference_steps must be at least 1, not {steps}")
    if isinstance(generator, list) and len(generator) != count:
        raise ValueError(f"generator must be one, or one a picture: {count}, not {len(generator)}")
    if output_type not in ("pil", "np", "pt", "latent"):
        raise ValueError(f"output_type must be pil, np, pt or latent, not {output_type!r}")


def _to_numpy(pictures: Tensor) -> Pixels:
    return pictures.permute(0, 2, 3, 1).float().cpu().numpy()


def _enlarge(pixels: Pixels, size: int) -> Pixels:
    """Resample (N, H, W, 3) in [0, 1] to a square of `size` px with a Lanczos kernel."""
    if pixels.shape[1] == size:
        return pixels
    enlarged = numpy.empty((len(pixels), size, size, 3), numpy.float32)
    for index, channel in numpy.ndindex(len(pixels), 3):
        plane = Image.fromarray(pixels[index, :, :, channel])  # mode "F": 32-bit float
        enlarged[index, :, :, channel] = numpy.asarray(plane.resize((size, size), Image.Resampling.LANCZOS))
    return enlarged.clip(0, 1)
