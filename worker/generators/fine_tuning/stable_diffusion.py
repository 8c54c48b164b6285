"""The objective of Stable Diffusion 1, 2 and XL: the noise, or v, of a noised latent, as in diffusers' examples.

Sources: diffusers' examples/text_to_image/train_text_to_image_lora.py and train_text_to_image_lora_sdxl.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F  # the name every torch reader knows
from diffusers import DDPMScheduler
from diffusers.utils import convert_state_dict_to_diffusers
from torch import Generator, Tensor, nn

from worker.generators.fine_tuning.objective import Example, drop

_DROP_CAPTION: Final = 0.05


class StableDiffusionObjective:
    """Trains adapters of the denoiser's attention."""

    layers: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._device = pipe.device
        self._is_xl = type(pipe).__name__ == "StableDiffusionXLPipeline"
        self._scheduler = DDPMScheduler.from_config(pipe.scheduler.config)
        self.networks: Mapping[str, nn.Module] = {"unet": pipe.unet}
        self._latents: list[Tensor] = []
        self._texts: list[tuple[Tensor, ...]] = []

    @torch.no_grad()
    def encode(self, examples: Iterable[Example]) -> int:
        """Encode images and captions, then unload what encodes them; see `Objective`."""
        pipe = self._pipe
        processor, vae = pipe.image_processor, pipe.vae
        # The autoencoder of XL overflows in half precision.
        vae_dtype = torch.float32 if getattr(vae.config, "force_upcast", False) else vae.dtype
        vae.to(dtype=vae_dtype)
        for image, caption in examples:
            pixels = processor.preprocess(image).to(self._device, vae_dtype)
            latents = vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor
            self._latents.append(latents.float())
            self._texts.append(self._encode_text(caption))
        self._no_text = self._encode_text("")
        for name, component in pipe.components.items():
            if name.startswith("text_encoder") or name == "vae":
                del component
                pipe.register_modules(**{name: None})
        return len(self._latents)

    def _encode_text(self, caption: str) -> tuple[Tensor, ...]:
        options = {"device": self._device, "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
        encoded = self._pipe.encode_prompt(caption, **options)
        return (encoded[0], encoded[2]) if self._is_xl else (encoded[0],)

    def loss(self, rows: Sequence[int], generator: Generator) -> Tensor:
        """The squared error of the denoiser; see `Objective`."""
        latents = torch.cat([self._latents[row] for row in rows])
        drops = drop(len(rows), _DROP_CAPTION, generator)
        texts = [self._no_text if is_dropped else self._texts[row] for row, is_dropped in zip(rows, drops, strict=True)]
        text = [torch.cat(parts) for parts in zip(*texts, strict=True)]
        noise = torch.randn(latents.shape, generator=generator).to(self._device)
        count = self._scheduler.config.num_train_timesteps
        timesteps = torch.randint(count, (len(rows),), generator=generator).to(self._device)
        noised = self._scheduler.add_noise(latents, noise, timesteps)
        conditions = {"added_cond_kwargs": self._sizes(latents, text[1])} if self._is_xl else {}
        guess = self._pipe.unet(noised.to(self._pipe.unet.dtype), timesteps, text[0], return_dict=False, **conditions)[
            0
        ].float()
        return F.mse_loss(guess, self._target(latents, noise, timesteps))

    def _target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        match self._scheduler.config.prediction_type:
            case "epsilon":
                return noise
            case "v_prediction":
                velocity: Tensor = self._scheduler.get_velocity(latents, noise, timesteps)
                return velocity
            case kind:
                raise ValueError(f"a model with prediction_type {kind} cannot be fine-tuned")

    def _sizes(self, latents: Tensor, pooled: Tensor) -> dict[str, Tensor]:
        """What XL reads beside the text: the original size, the crop, and the size, all those of the training."""
        side = latents.shape[-1] * self._pipe.vae_scale_factor
        sizes = torch.tensor([[side, side, 0, 0, side, side]], dtype=pooled.dtype, device=self._device)
        return {"text_embeds": pooled, "time_ids": sizes.expand(len(latents), -1)}

    def save(self, weights: Mapping[str, Mapping[str, Tensor]], path: Path) -> None:
        """Write diffusers' own format; see `Objective`."""
        layers = convert_state_dict_to_diffusers(dict(weights["unet"]))
        self._pipe.save_lora_weights(path.parent, unet_lora_layers=layers, weight_name=path.name)
