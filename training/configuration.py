"""Every size and budget of a training run in one place, with the tiny run beside the full one."""

from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_DATA = Path(".safelight/training")


@dataclass(frozen=True)
class Budget:
    """How long a stage trains: minutes of wall time, or optimiser steps (which a test prefers)."""

    minutes: float | None = None
    steps: int | None = None

    def fraction(self, *, step: int, seconds: float) -> float:
        """The fraction used so far; 1 or more means the stage is over."""
        if self.steps is not None:
            return step / self.steps
        if self.minutes is None:
            raise ValueError("a budget needs minutes or steps")
        return seconds / (60 * self.minutes)


@dataclass(frozen=True)
class Configuration:
    """One training run. `data` holds whatever it makes; `seed` and all budgets go into every checkpoint."""

    data: Path = DEFAULT_DATA
    start: Path | None = None
    """A model folder to start from: its image encoder, autoencoder and decoder are trained on, its latents are kept."""
    tiny: bool = False
    seed: int = 1
    processes: int = 2
    compile: bool = True

    images: int = 50_000
    held_out_images: int = 1_500
    text_length: int = 40

    text_layers: int = 4
    width: int = 192
    vision_layers: int = 4
    clip_batch: tuple[int, int] = (8, 16)
    """Backgrounds by different objects on each."""

    autoencoder_encoder: tuple[int, int] = (64, 128)
    autoencoder_decoder: tuple[int, int, int] = (160, 96, 48)
    decoder_channels: int = 128
    decoder_width: int = 256
    decoder_layers: int = 6
    decoder_batch: int = 32
    prior_width: int = 256
    prior_layers: int = 4
    upscaler_channels: int = 48
    upscaler_blocks: int = 4
    average_every_seconds: float = 8.0

    judge_budget: Budget = field(default_factory=lambda: Budget(minutes=3))
    clip_budget: Budget = field(default_factory=lambda: Budget(minutes=16))
    autoencoder_budget: Budget = field(default_factory=lambda: Budget(minutes=15))
    decoder_budget: Budget = field(default_factory=lambda: Budget(minutes=75))
    prior_budget: Budget = field(default_factory=lambda: Budget(minutes=8))
    upscaler_budget: Budget = field(default_factory=lambda: Budget(minutes=12))


def tiny(data: Path) -> Configuration:
    """The whole chain in well under two minutes, on stand-in sprites: tests the code; its images are not good."""
    few = Budget(steps=30)
    return Configuration(
        data=data,
        tiny=True,
        processes=1,
        compile=False,
        images=400,
        held_out_images=40,
        text_layers=1,
        width=64,
        vision_layers=1,
        clip_batch=(4, 4),
        autoencoder_encoder=(16, 32),
        autoencoder_decoder=(32, 16, 16),
        decoder_channels=32,
        decoder_width=64,
        decoder_layers=1,
        decoder_batch=8,
        prior_width=64,
        prior_layers=1,
        upscaler_channels=16,
        upscaler_blocks=1,
        judge_budget=few,
        clip_budget=few,
        autoencoder_budget=few,
        decoder_budget=few,
        prior_budget=few,
        upscaler_budget=few,
    )
