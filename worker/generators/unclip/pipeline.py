"""The pipeline of unclip-mini: CLIP text encoder -> (prior) -> diffusion decoder -> autoencoder -> (upscaler).

It follows diffusers' calling conventions and folder layout; prior, upscaler and image encoder are optional. One
__call__ generates, varies and edits images, because the three differ only in the decoder's condition and in the latents
that it starts from. Images are generated at 128 px and enlarged to the requested size. Each has its own generator and
does not depend on the other images of its batch.

Sources: unCLIP, Ramesh et al. 2022 (arXiv:2204.06125); classifier-free guidance, Ho & Salimans 2022 (2207.12598).
"""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Final, Literal, Self

import numpy
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

from worker.generators.unclip.batch import Batch, Images, Prompt, check_edit, check_generators, check_sizes
from worker.generators.unclip.conditioning import Condition, Text, encode_images, encode_text, sample_prior, to_tensor
from worker.generators.unclip.enlarging import Pixels, enlarge
from worker.generators.unclip.loras import UnclipLoras
from worker.generators.unclip.networks import UnclipAutoencoder, UnclipDecoder
from worker.generators.unclip.original import Original, free_cells
from worker.generators.unclip.precision import HAS_BFLOAT16
from worker.generators.unclip.prior import UnclipPrior
from worker.generators.unclip.threads import ImageThreads
from worker.generators.unclip.upscaler import UnclipUpscaler

NATIVE_PX: Final = 128

Generators = torch.Generator | list[torch.Generator]
StepEnd = Callable[["UnclipPipeline", int, Tensor, dict[str, Tensor]], dict[str, Tensor]]


class UnclipPipeline(UnclipLoras, DiffusionPipeline):  # type: ignore[misc]  # diffusers is untyped
    """Generates, varies and edits images by English or Chinese prompts."""

    denoiser_names = ("decoder",)
    """Components whose calls are the steps of a progress bar; those of the prior take almost no time."""
    model_cpu_offload_seq = "text_encoder->image_encoder->prior->decoder->vae->upscaler"
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
        prior_by_default: bool = True,
    ) -> None:
        """Put a pipeline together; `prior_by_default`: the value of `use_prior` if a call does not set it."""
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
        self.register_to_config(prior_by_default=prior_by_default)
        self._interrupt = False
        self._threads = ImageThreads()

    def spread_over(self, cores: int, *, autocast: bool = True) -> None:
        """Compute the images of a batch in parallel on `cores` cores of a CPU; autocast: see `arithmetic`."""
        self._threads = ImageThreads(cores, autocast=autocast)

    @property
    def arithmetic(self) -> torch.dtype:
        """The type of the computation: bfloat16 on a CPU that has it, with autocast; else the type of the weights."""
        autocast = self.device.type == "cpu" and self._threads.autocast and HAS_BFLOAT16
        return torch.bfloat16 if autocast else self.decoder.dtype

    @classmethod
    def from_pretrained(cls, folder: str | PathLike[str], **options: Any) -> Self:
        """Load a folder; single precision unless `dtype` says otherwise, though the files are half."""
        if not options.keys() & {"dtype", "torch_dtype"}:
            options["dtype"] = torch.float32
        pipeline: Self = super().from_pretrained(folder, **options)
        return pipeline

    @property
    def tasks(self) -> set[str]:
        """The tasks of a call, by the names of operations.py; a variation needs the image encoder."""
        tasks = {"text-to-image", "image-to-image", "inpainting"}
        return tasks if self.image_encoder is None else tasks | {"variation"}

    @property
    def interrupt(self) -> bool:
        """Whether the remaining steps are skipped; a callback sets `_interrupt`."""
        return self._interrupt

    @property
    def num_timesteps(self) -> int:
        """Steps of the current call; an edit may have fewer than num_inference_steps."""
        return len(self.scheduler.timesteps)

    @torch.no_grad()
    def __call__(
        self,
        prompt: Prompt = "",
        negative_prompt: Prompt | None = None,
        image: Images | None = None,
        mask_image: Images | None = None,
        strength: float | None = None,
        num_inference_steps: int = 18,
        guidance_scale: float = 5.0,
        generator: Generators | None = None,
        height: int = NATIVE_PX,
        width: int = NATIVE_PX,
        num_images_per_prompt: int = 1,
        latents: Tensor | None = None,
        image_embeds: Tensor | None = None,
        use_prior: bool | None = None,
        prior_guidance_scale: float = 1.0,
        output_type: Literal["pil", "np", "pt", "latent"] = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> ImagePipelineOutput | tuple[Any]:
        """Generate `num_images_per_prompt` images for each prompt.

        image: one for all, or one per prompt. Without a strength, the result is a variation of it. With a strength,
            from above 0 (nothing changes) up to 1 (nothing remains), it is an edit.
        mask_image: white where an edit may change the image. Elsewhere the latents are the original's; its pixels are
            not pasted.
        generator: one for all, or one per image, which makes an image independent of its batch.
        height, width: equal, and one of 128, 256, 512, 1024.
        image_embeds: (N, E), a CLIP image embedding per image, if the images should resemble others.
        use_prior: whether the prior samples missing image embeddings; None: the folder's configuration.
        prior_guidance_scale: guidance of the prior; 1 is none.
        callback_on_step_end: gets `latents` and, if listed, `clean_latents`, the current estimate of the final ones.
        Raises ValueError for a value that is not allowed.
        """
        check_sizes(height, width, num_inference_steps, output_type)
        check_edit(image, mask_image, strength)
        batch = Batch.of(prompt, negative_prompt, image, mask_image, num_images_per_prompt)
        check_generators(generator, len(batch))
        uses_guidance = guidance_scale > 1
        self._interrupt = False

        text = self._encode_text(batch.negatives + batch.prompts if uses_guidance else batch.prompts)
        noise = self._noise(len(batch), generator, latents)
        if image_embeds is None and batch.images and strength is None:
            image_embeds = self._encode_images(batch.images)
        if image_embeds is None and self._has_prior(use_prior):
            image_embeds = self._sample_prior(text[-len(batch) :], generator, prior_guidance_scale)
        condition = Condition.of(text, image_embeds, self.decoder.dtype)
        original = self._original(batch, noise) if strength is not None else None

        self._set_timesteps(num_inference_steps, strength or 1.0)
        latents = self._denoise(
            noise, original, condition, guidance_scale, callback_on_step_end, callback_on_step_end_tensor_inputs
        )
        images = latents if output_type == "latent" else self._images(latents, height, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    @torch.no_grad()
    def preview(self, latents: Tensor) -> list[Image.Image]:
        """Decode unfinished images at 128 px, best from the `clean_latents` of a step."""
        return self.numpy_to_pil(self._decode(latents))  # type: ignore[no-any-return]  # diffusers is untyped

    def _encode_text(self, prompts: list[str]) -> Text:
        """Encode each different prompt alone, so that its rounding does not depend on the others."""
        parts = {
            prompt: encode_text([prompt], self.tokenizer, self.text_encoder, self._execution_device)
            for prompt in prompts
        }
        return Text.join([parts[prompt] for prompt in prompts])

    def _encode_images(self, images: list[Image.Image]) -> Tensor:
        if self.image_encoder is None:
            raise ValueError("image cannot be used for a variation: this folder has no image_encoder")
        return encode_images(images, self.image_encoder, self._execution_device, self._threads)

    def _has_prior(self, use_prior: bool | None) -> bool:
        if use_prior and self.prior is None:
            raise ValueError("use_prior must be false or left out: this folder has no prior")
        return self.prior is not None and (self.config.prior_by_default if use_prior is None else use_prior)

    def _sample_prior(self, text: Text, generator: Generators | None, guidance_scale: float) -> Tensor:
        """Sample image embeddings for texts. Their noise comes last, so that a prior does not change the latents."""
        device = self._execution_device
        noise = randn_tensor(text.embeds.shape, generator=generator, device=device, dtype=torch.float32)
        empty_text = self._encode_text([""]) if guidance_scale > 1 else None

        def compute(states: Tensor, mask: Tensor, embeds: Tensor, noise: Tensor) -> Tensor:
            rows = Text(states, mask, embeds)
            return sample_prior(self.prior, rows, noise, empty_text=empty_text, guidance_scale=guidance_scale)

        return self._threads.run(compute, text.states, text.mask, text.embeds, noise)

    def _original(self, batch: Batch, noise: Tensor) -> Original:
        """The originals of an edit, scaled to the native size."""
        device = self._execution_device
        images = to_tensor(batch.images or [], NATIVE_PX).to(device, self.vae.dtype)
        latents = self._threads.run(self.vae.encode, images)
        free = free_cells(batch.masks, latents.shape[-1]).to(device) if batch.masks else None
        return Original(latents.float(), noise, free)

    def _noise(self, count: int, generator: Generators | None, latents: Tensor | None) -> Tensor:
        config = self.decoder.config
        shape = (count, config.latent_channels, config.latent_side, config.latent_side)
        if latents is None:
            latents = randn_tensor(shape, generator=generator, device=self._execution_device, dtype=torch.float32)
        if latents.shape != shape:
            raise ValueError(f"latents must have the shape {shape}, not {tuple(latents.shape)}")
        return latents.to(self._execution_device, torch.float32)

    def _set_timesteps(self, steps: int, start: float) -> None:
        """Set the times from `start` down to 0, before the scheduler's shift, in a share `start` of the steps."""
        count = max(1, round(steps * start))
        sigmas = numpy.linspace(start, start / count, count)
        self.scheduler.set_timesteps(device=self._execution_device, sigmas=sigmas)

    def _denoise(
        self,
        noise: Tensor,
        original: Original | None,
        condition: Condition,
        guidance_scale: float,
        on_step_end: StepEnd | None,
        tensor_names: Sequence[str],
    ) -> Tensor:
        """The latents at the end of the scheduler's times, or where `interrupt` was set. original: that of an edit."""
        latents = noise if original is None else original.at(self.scheduler.sigmas[0])
        with self.progress_bar(total=self.num_timesteps) as bar:
            for step, timestep in enumerate(self.scheduler.timesteps):
                if self.interrupt:
                    continue
                time = timestep / self.scheduler.config.num_train_timesteps
                flow = self._flow(latents, time, condition, guidance_scale)
                clean_latents = latents - time * flow
                latents = self.scheduler.step(flow, timestep, latents, return_dict=False)[0]
                if original is not None:
                    latents = original.hold(latents, self.scheduler.sigmas[step + 1])
                if on_step_end is not None:
                    available = {"latents": latents, "clean_latents": clean_latents}
                    tensors = {name: available[name] for name in tensor_names}
                    latents = on_step_end(self, step, timestep, tensors).get("latents", latents)
                bar.update()
        return latents

    def _flow(self, latents: Tensor, time: Tensor, condition: Condition, guidance_scale: float) -> Tensor:
        """The flow at this time, with guidance away from the negative prompt; (N, 8, 16, 16)."""
        text = condition.text
        uses_guidance = len(text.embeds) > len(latents)
        sample = torch.cat([latents, latents]) if uses_guidance else latents
        flow = self._threads.run(
            self.decoder,
            sample.to(self.decoder.dtype),
            time.expand(len(sample)),
            text.states,
            text.mask,
            text.embeds,
            condition.image_embeds,
            condition.has_image,
            images=len(latents),
        )
        if not uses_guidance:
            return flow
        negative, positive = flow.chunk(2)
        # At the very start the image is all noise, and full guidance burns the colours.
        scale = guidance_scale if time < 0.97 else 1 + (guidance_scale - 1) / 2
        return negative + scale * (positive - negative)

    def _decode(self, latents: Tensor) -> Pixels:
        """Images (N, 128, 128, 3) in [0, 1]."""
        images = self._threads.run(self.vae.decode, latents.to(self.vae.dtype))
        pixels: Pixels = (images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float().cpu().numpy()
        return pixels

    def _images(self, latents: Tensor, size: int, output_type: str) -> Any:
        pixels = enlarge(self._decode(latents), size, self.upscaler, self._threads)
        if output_type == "np":
            return pixels
        if output_type == "pt":
            return torch.from_numpy(pixels).permute(0, 3, 1, 2)
        return self.numpy_to_pil(pixels)
