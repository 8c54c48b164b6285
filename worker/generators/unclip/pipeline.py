"""The pipeline of unclip-mini: CLIP text encoder -> (prior) -> diffusion decoder -> autoencoder -> (upscaler).

It keeps diffusers' calling conventions and its standard folder; prior, upscaler and image encoder may be missing there.
One __call__ draws from a text, varies an image and edits one, for the three differ only in what the decoder is told
and in what it starts from. Images are drawn at 128 px and enlarged to the size asked for. Each has its own generator
and is computed from nothing of its neighbours in the batch.

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
from worker.generators.unclip.conditioning import Condition, Text, imagine, look, read, to_tensor
from worker.generators.unclip.enlarging import Pixels, enlarge
from worker.generators.unclip.networks import UnclipAutoencoder, UnclipDecoder
from worker.generators.unclip.original import Original, free_cells
from worker.generators.unclip.precision import HAS_BFLOAT16
from worker.generators.unclip.prior import UnclipPrior
from worker.generators.unclip.threads import ImageThreads
from worker.generators.unclip.upscaler import UnclipUpscaler

NATIVE_PX: Final = 128

Generators = torch.Generator | list[torch.Generator]
StepEnd = Callable[["UnclipPipeline", int, Tensor, dict[str, Tensor]], dict[str, Tensor]]


class UnclipPipeline(DiffusionPipeline):  # type: ignore[misc]  # diffusers is untyped
    """Draws, varies and edits images by English or Chinese prompts."""

    denoiser_names = ("decoder",)
    """Components whose calls are the steps of a progress bar; the prior's are over in an instant."""
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
        """Put a pipeline together; `prior_by_default`: whether a prior, if there is one, is used unasked."""
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
        """Compute the images of a batch side by side, on so many cores of a CPU; autocast: see `arithmetic`."""
        self._threads = ImageThreads(cores, autocast=autocast)

    @property
    def arithmetic(self) -> torch.dtype:
        """What the networks compute in: bfloat16 on a CPU that has it, with autocast, else the type of the weights."""
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
        """What a call can do with the parts there are, in diffusers' words; all else it has one class for each."""
        drawn = {"text-to-image", "image-to-image", "inpainting"}
        return drawn if self.image_encoder is None else drawn | {"variation"}

    @property
    def interrupt(self) -> bool:
        """Set `_interrupt` from a callback to leave the remaining steps out."""
        return self._interrupt

    @property
    def num_timesteps(self) -> int:
        """Steps of the present call: fewer than asked for when an edit starts in mid-way."""
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
        """Draw `num_images_per_prompt` images for each prompt.

        image: one for all, or one a prompt. Without a strength it is looked at, and its subject drawn anew; with one,
            from above 0 (nothing changes) up to 1 (nothing remains), it is drawn over.
        mask_image: white where an edit may draw. Elsewhere the latents are the original's; its pixels are not pasted.
        generator: one for all, or one an image, which makes an image independent of its batch.
        height, width: equal, and one of 128, 256, 512, 1024.
        image_embeds: (N, E), a CLIP image embedding an image, if the image should resemble another.
        use_prior: whether the prior imagines image embeddings that are not given; None: the folder's configuration.
        prior_guidance_scale: guidance of the prior; 1 is none.
        callback_on_step_end: told `latents` and, if asked, `clean_latents`, the present guess at the finished ones.
        Raises ValueError for a value that is not allowed.
        """
        check_sizes(height, width, num_inference_steps, output_type)
        check_edit(image, mask_image, strength)
        batch = Batch.of(prompt, negative_prompt, image, mask_image, num_images_per_prompt)
        check_generators(generator, len(batch))
        guided = guidance_scale > 1
        self._interrupt = False

        text = self._read(batch.negatives + batch.prompts if guided else batch.prompts)
        noise = self._noise(len(batch), generator, latents)
        if image_embeds is None and batch.images and strength is None:
            image_embeds = self._look(batch.images)
        if image_embeds is None and self._has_prior(use_prior):
            image_embeds = self._imagine(text[-len(batch) :], generator, prior_guidance_scale)
        condition = Condition.of(text, image_embeds, self.decoder.dtype)
        original = self._original(batch, noise) if strength is not None else None

        self._set_timesteps(num_inference_steps, strength or 1.0)
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
                if callback_on_step_end is not None:
                    known = {"latents": latents, "clean_latents": clean_latents}
                    told = {name: known[name] for name in callback_on_step_end_tensor_inputs}
                    latents = callback_on_step_end(self, step, timestep, told).get("latents", latents)
                bar.update()
        images = latents if output_type == "latent" else self._images(latents, height, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    @torch.no_grad()
    def preview(self, latents: Tensor) -> list[Image.Image]:
        """Show unfinished images at 128 px; best given the `clean_latents` of a step."""
        return self.numpy_to_pil(self._decode(latents))  # type: ignore[no-any-return]  # diffusers is untyped

    def _read(self, prompts: list[str]) -> Text:
        """Each different prompt by itself, so that its rounding does not depend on the others."""
        parts = {
            prompt: read([prompt], self.tokenizer, self.text_encoder, self._execution_device) for prompt in prompts
        }
        return Text.joined([parts[prompt] for prompt in prompts])

    def _look(self, images: list[Image.Image]) -> Tensor:
        if self.image_encoder is None:
            raise ValueError("image cannot be looked at: this folder has no image_encoder")
        return look(images, self.image_encoder, self._execution_device, self._threads)

    def _has_prior(self, wanted: bool | None) -> bool:
        if wanted and self.prior is None:
            raise ValueError("use_prior must be false or left out: this folder has no prior")
        return self.prior is not None and (self.config.prior_by_default if wanted is None else wanted)

    def _imagine(self, text: Text, generator: Generators | None, guidance_scale: float) -> Tensor:
        """Image embeddings for texts; the noise is drawn after the latents', which so are the same without a prior."""
        device = self._execution_device
        noise = randn_tensor(text.embeds.shape, generator=generator, device=device, dtype=torch.float32)
        nothing = self._read([""]) if guidance_scale > 1 else None

        def compute(states: Tensor, mask: Tensor, embeds: Tensor, noise: Tensor) -> Tensor:
            own = Text(states, mask, embeds)
            return imagine(self.prior, own, noise, nothing=nothing, guidance_scale=guidance_scale)

        return self._threads.run(compute, text.states, text.mask, text.embeds, noise)

    def _original(self, batch: Batch, noise: Tensor) -> Original:
        """The images to be edited; those of any size are reduced to the one that is drawn."""
        device = self._execution_device
        images = to_tensor(batch.images or [], NATIVE_PX).to(device, self.vae.dtype)
        latents = self._threads.run(self.vae.encode, images)
        free = free_cells(batch.masks, latents.shape[-1]).to(device) if batch.masks else None
        return Original(latents.float(), noise, free)

    def _noise(self, count: int, generator: Generators | None, given: Tensor | None) -> Tensor:
        config = self.decoder.config
        shape = (count, config.latent_channels, config.latent_side, config.latent_side)
        if given is None:
            given = randn_tensor(shape, generator=generator, device=self._execution_device, dtype=torch.float32)
        if given.shape != shape:
            raise ValueError(f"latents must have the shape {shape}, not {tuple(given.shape)}")
        return given.to(self._execution_device, torch.float32)

    def _set_timesteps(self, steps: int, start: float) -> None:
        """Spread as many of the steps as fall to it from the time `start`, before the scheduler's shift, down to 0."""
        kept = max(1, round(steps * start))
        sigmas = numpy.linspace(start, start / kept, kept)
        self.scheduler.set_timesteps(device=self._execution_device, sigmas=sigmas)

    def _flow(self, latents: Tensor, time: Tensor, condition: Condition, guidance_scale: float) -> Tensor:
        """The flow at this time, guided away from what the negative prompt says; (N, 8, 16, 16)."""
        text = condition.text
        guided = len(text.embeds) > len(latents)
        sample = torch.cat([latents, latents]) if guided else latents
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
        if not guided:
            return flow
        without, towards = flow.chunk(2)
        # At the very start the image is all noise, and full guidance burns the colours.
        scale = guidance_scale if time < 0.97 else 1 + (guidance_scale - 1) / 2
        return without + scale * (towards - without)

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
