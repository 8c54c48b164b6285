"""Trains the diffusion decoder: rectified flow on latents, with the text and, in some steps, the image embedding.

Processes train in parallel on their own random samples. Every few seconds they average their weights, weighted by the
steps of each process ("local SGD", Stich 2018, arXiv:1805.09767), so that none waits long for the slowest. One process
per GPU on CUDA, `configuration.processes` one-thread processes on a CPU; the same code for both.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.optim import AdamW, Optimizer

from training import features
from training.configuration import Configuration
from training.features import Features
from training.loop import Average, Run, channels_last, restore
from training.muon import Muon
from worker.generators.unclip.networks import UnclipDecoder

_LEARNING_RATE = 1.5e-3
_OBJECT_WEIGHT = 3.0
"""How much more an error counts where the objects are: the effort goes where the eye looks.

Late in the way to the image the optimum is the same; early, when the place of the object is still open, the flow
becomes a mean that leans to images with an object there, which is what most prompts ask for.
"""
_DROP_PROMPT = 0.2
_GIVE_IMAGE = 0.45
"""Drawn apart from each other, so that it learns text alone, text with image, image alone, and nothing at all."""


@dataclass(frozen=True)
class Batch:
    latents: Tensor
    weight: Tensor
    text: Tensor
    text_mask: Tensor
    text_embeds: Tensor
    image_embeds: Tensor
    has_image: Tensor


def build(configuration: Configuration) -> UnclipDecoder:
    network: UnclipDecoder = UnclipDecoder(
        channels=configuration.decoder_channels,
        width=configuration.decoder_width,
        layers=configuration.decoder_layers,
        embedding=configuration.width,
        text_width=configuration.width,
    )
    if configuration.start:
        network.load_state_dict(UnclipDecoder.from_pretrained(configuration.start / "decoder").state_dict())
    channels_last(network)
    return network


def load(configuration: Configuration) -> UnclipDecoder:
    """The trained decoder with its averaged weights, as far as training has come."""
    return restore(build(configuration), configuration.data / "decoder.pt")


def train(configuration: Configuration) -> None:
    """Train within the budget on all processes and store as decoder.pt."""
    world = torch.cuda.device_count() or configuration.processes
    if world == 1:
        _train(0, configuration, 1)
    else:
        spawn(_train, (configuration, world), nprocs=world)  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _train(rank: int, configuration: Configuration, world: int) -> None:
    device = torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")
    if world > 1:
        _join(rank, world)
    torch.manual_seed(configuration.seed)
    dataset = features.load(configuration)
    network = build(configuration)
    _standardise(network, dataset)
    network.to(device)
    average = Average(network, 0.999)
    optimizers = _optimizers(network)
    run = Run(
        configuration.data / "decoder.pt",
        configuration.decoder_budget,
        configuration.seed + rank,
        writes=rank == 0,
        network=network,
        average=average,
        **{f"optimizer{index}": optimizer for index, optimizer in enumerate(optimizers)},
    )
    forward: Callable[..., Tensor] = torch.compile(network) if configuration.compile else network
    while _all_going(run, world):
        before = run.steps
        meeting = time.monotonic() + configuration.average_every_seconds
        while time.monotonic() < meeting and run.going():
            run.set_rate(optimizers, warm_up=150, hold=0.55)
            loss = _loss(forward, _draw(dataset, configuration.decoder_batch, device))
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
            run.step(loss.item(), configuration.decoder_batch)
        if world > 1:
            run.samples += configuration.decoder_batch * _meet(network, run.steps - before)
        average.update(run.steps, run.steps - before)
        run.save_now_and_then()
    if not run.is_finished:
        run.save(is_finished=True)
    if world > 1:
        dist.destroy_process_group()


def _join(rank: int, world: int) -> None:
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29577")
    dist.init_process_group("gloo", rank=rank, world_size=world)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})


def _all_going(run: Run, world: int) -> bool:
    """Whether every process has budget left; all answer alike, so none waits at a meeting for one that left."""
    going = torch.tensor([float(run.going())])
    if world > 1:
        dist.all_reduce(going, dist.ReduceOp.MIN)
    return bool(going.item())


@torch.no_grad()
def _meet(network: nn.Module, steps: int) -> int:
    """Average the weights over all processes, weighted by their steps; return the steps of the others."""
    parameters = list(network.parameters())
    flat = torch.cat([parameter.flatten() for parameter in parameters]).cpu() * steps
    total = torch.cat([flat, torch.tensor([float(steps)])])
    dist.all_reduce(total)
    count = int(total[-1])
    if count:
        means = (total[:-1] / count).split_with_sizes([parameter.numel() for parameter in parameters])
        for parameter, mean in zip(parameters, means, strict=True):
            parameter.copy_(mean.view_as(parameter))
    return count - steps


def _standardise(network: UnclipDecoder, dataset: Features) -> None:
    """Give the network the mean and scale of its two embeddings."""
    condition = network.condition
    for name, embeds in (("text", dataset.text.embeds), ("image", dataset.image_embeds)):
        getattr(condition, f"{name}_mean").copy_(embeds.mean(0))
        getattr(condition, f"{name}_scale").copy_(1 / embeds.std(0))


def _optimizers(network: UnclipDecoder) -> list[Optimizer]:
    """Muon for the inner matrices, AdamW for all else."""
    inner = ("blocks.", "before.", "after.", "up.", "down.")
    matrices: list[nn.Parameter] = []
    other_parameters: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        orthogonal = parameter.ndim >= 2 and name.startswith(inner) and "modulation" not in name
        (matrices if orthogonal else other_parameters).append(parameter)
    group = {"params": other_parameters, "base_lr": _LEARNING_RATE}
    return [Muon(matrices, _LEARNING_RATE), AdamW([group], betas=(0.9, 0.98), weight_decay=0.01)]


def _draw(dataset: Features, size: int, device: torch.device) -> Batch:
    """One batch: random images, each with its English or Chinese caption, some without prompt or image embedding."""
    rows = torch.randint(0, len(dataset.latents), (size,))
    lines = 4 * rows + torch.randint(0, 4, (size,))
    drop = torch.rand(size) < _DROP_PROMPT
    empty_text = dataset.empty_text
    batch = Batch(
        latents=dataset.latents[rows].float().contiguous(memory_format=torch.channels_last),
        weight=1 + (_OBJECT_WEIGHT - 1) * dataset.masks[rows].float()[:, None],
        text=torch.where(drop[:, None, None], empty_text.states, dataset.text.states[lines]),
        text_mask=torch.where(drop[:, None], empty_text.mask, dataset.text.mask[lines]),
        text_embeds=torch.where(drop[:, None], empty_text.embeds, dataset.text.embeds[lines]),
        image_embeds=dataset.image_embeds[rows],
        has_image=torch.rand(size) < _GIVE_IMAGE,
    )
    return Batch(**{name: tensor.to(device) for name, tensor in vars(batch).items()})


def _loss(forward: Callable[..., Tensor], batch: Batch) -> Tensor:
    """The weighted squared error of the flow at times sampled from a logit-normal."""
    device = batch.latents.device
    time_ = torch.sigmoid(torch.randn(len(batch.latents), device=device))
    noise = torch.randn_like(batch.latents)
    mix = time_.view(-1, 1, 1, 1)
    sample = torch.lerp(batch.latents, noise, mix)
    with torch.autocast(device.type, torch.bfloat16):
        flow = forward(
            sample, time_, batch.text, batch.text_mask, batch.text_embeds, batch.image_embeds, batch.has_image
        )
    error = (flow - (noise - batch.latents)).square()
    return (error * batch.weight).mean() / batch.weight.mean()
