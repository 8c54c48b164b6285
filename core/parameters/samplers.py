"""Names of samplers and upscalers: those of the catalogue, and those that AUTOMATIC1111's webui and its clients show.

The webui has two names: the sampler, and the schedule of its noise levels ("DPM++ 2M" and "Karras"). The catalogue has
one (`dpmpp_2m_karras`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

AUTOMATIC = "Automatic"
DEFAULT_SAMPLER = "Default"
"""Stands for the model's own sampler."""

NEUTRAL_SCHEDULES = frozenset({"", "automatic", "default", "normal", "none"})
"""Schedules that ask for nothing special."""


@dataclass(frozen=True, slots=True)
class Label:
    """A sampler, as the webui calls it."""

    sampler: str
    schedule: str = AUTOMATIC


LABELS: Mapping[str, Label] = {
    "ddim": Label("DDIM"),
    "ddpm": Label("DDPM"),
    "deis": Label("DEIS"),
    "dpm2": Label("DPM2"),
    "dpm2_a": Label("DPM2 a"),
    "dpmpp_2m": Label("DPM++ 2M"),
    "dpmpp_2m_karras": Label("DPM++ 2M", "Karras"),
    "dpmpp_2m_sde": Label("DPM++ 2M SDE"),
    "dpmpp_2s": Label("DPM++ 2S"),
    "euler": Label("Euler"),
    "euler_a": Label("Euler a"),
    "heun": Label("Heun"),
    "lms": Label("LMS"),
    "pndm": Label("PLMS"),
    "unipc": Label("UniPC"),
}
"""By the name in the catalogue."""


def label_of(scheduler: str | None) -> Label:
    """How the webui calls a job's sampler. None: the model's own."""
    if scheduler is None:
        return Label(DEFAULT_SAMPLER)
    return LABELS.get(scheduler, Label(scheduler))


def scheduler_of(sampler: str, schedule: str = "") -> str | None:
    """The catalogue's name of a sampler and a schedule; None if the catalogue cannot have it.

    Older clients write the schedule behind the sampler: `DPM++ 2M Karras`. `k_euler_a` and `euler_a` are names as well.
    """
    name, schedule = sampler.strip().lower().removeprefix("k_"), schedule.strip().lower()
    if schedule in NEUTRAL_SCHEDULES:
        schedule = ""
    if name.endswith(" karras"):
        name, schedule = name.removesuffix(" karras"), "karras"
    for scheduler, label in LABELS.items():
        label_schedule = "" if label.schedule == AUTOMATIC else label.schedule.lower()
        if label_schedule == schedule and name in (label.sampler.lower(), scheduler.removesuffix("_karras")):
            return scheduler
        if scheduler == name and not schedule:
            return scheduler
    return None


UPSCALER_LABELS: Mapping[str, str] = {
    "lanczos": "Lanczos",
    "latent": "Latent",
    "latent_antialiased": "Latent (antialiased)",
    "latent_bicubic": "Latent (bicubic)",
    "latent_bicubic_antialiased": "Latent (bicubic antialiased)",
    "latent_nearest": "Latent (nearest)",
    "latent_nearest_exact": "Latent (nearest-exact)",
}
"""How the webui calls the upscalers of a second pass. Networks have their own names."""


def label_of_upscaler(name: str) -> str:
    """What the webui calls an upscaler."""
    return UPSCALER_LABELS.get(name, name)


def upscaler_of(label: str) -> str:
    """The upscaler that a name of the webui stands for: Lanczos for none, the same name if it is not known."""
    if label.lower() in ("", "none"):
        return "lanczos"
    names = {text.lower(): name for name, text in UPSCALER_LABELS.items()}
    return names.get(label.lower(), label)
