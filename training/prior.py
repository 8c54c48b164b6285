"""Trains the prior: from a caption's features, the CLIP image embedding of an image that fits it.

Rectified flow in the space of standardised image embeddings, but the network predicts the clean embedding, as in
unCLIP (Ramesh et al. 2022, section 2.2). Some prompts are replaced by the empty one, so that guidance is possible. It
takes minutes in one process.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F  # the name every torch reader knows
from torch import Tensor
from torch.optim import AdamW

from training import features
from training.configuration import Configuration
from training.features import Features
from training.loop import Average, Run, restore
from worker.generators.unclip.prior import UnclipPrior

_BATCH = 128
_DROP_PROMPT = 0.1
_LEARNING_RATE = 1e-3


def build(configuration: Configuration) -> UnclipPrior:
    prior: UnclipPrior = UnclipPrior(
        embedding=configuration.width,
        text_width=configuration.width,
        width=configuration.prior_width,
        layers=configuration.prior_layers,
    )
    return prior


def load(configuration: Configuration) -> UnclipPrior:
    """The trained prior with its averaged weights."""
    return restore(build(configuration), configuration.data / "prior.pt")


def train(configuration: Configuration) -> None:
    """Train within the budget, store as prior.pt, and print how near its embeddings come to the true ones."""
    torch.manual_seed(configuration.seed)
    dataset = features.load(configuration)
    network = build(configuration)
    network.mean.copy_(dataset.image_embeds.mean(0))
    network.scale.copy_(1 / dataset.image_embeds.std(0))
    average = Average(network, 0.999)
    optimizer = AdamW([{"params": network.parameters(), "base_lr": _LEARNING_RATE}], betas=(0.9, 0.98))
    parts: dict[str, Any] = {"network": network, "average": average, "optimizer": optimizer}
    run = Run(configuration.data / "prior.pt", configuration.prior_budget, configuration.seed, **parts)
    forward = torch.compile(network) if configuration.compile else network
    while run.going():
        run.set_rate([optimizer], warm_up=100, hold=0.4)
        rows = torch.randint(0, len(dataset.image_embeds), (_BATCH,))
        clean = network.standardise(dataset.image_embeds[rows])
        time = torch.rand(_BATCH)
        noised = torch.lerp(clean, torch.randn_like(clean), time[:, None])
        with torch.autocast("cpu", torch.bfloat16):
            guess = forward(noised, time, *_text(dataset, rows))
        loss = F.mse_loss(guess.float(), clean)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update(run.steps)
        run.step(loss.item(), _BATCH)
        run.save_now_and_then()
    if not run.is_finished:
        run.save(is_finished=True)
    print(f"prior: cosine to the true embedding {likeness(load(configuration), dataset):.3f}", flush=True)


def _text(dataset: Features, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """States, mask and pooled embedding of one caption of each image; of the empty prompt now and then."""
    lines = 4 * rows + torch.randint(0, 4, rows.shape)
    drop = torch.rand(len(rows)) < _DROP_PROMPT
    text, empty_text = dataset.text, dataset.empty_text
    return (
        torch.where(drop[:, None, None], empty_text.states, text.states[lines]),
        torch.where(drop[:, None], empty_text.mask, text.mask[lines]),
        torch.where(drop[:, None], empty_text.embeds, text.embeds[lines]),
    )


@torch.no_grad()
def likeness(network: UnclipPrior, dataset: Features, count: int = 256, steps: int = 8) -> float:
    """Mean cosine, after standardising, between sampled embeddings and those of the captions' own images."""
    rows = torch.linspace(0, len(dataset.image_embeds) - 1, min(count, len(dataset.image_embeds))).long()
    truth = network.standardise(dataset.image_embeds[rows])
    text = (dataset.text.states[4 * rows].float(), dataset.text.mask[4 * rows], dataset.text.embeds[4 * rows])
    sample = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    times = torch.linspace(1, 0, steps + 1)
    for time, next_time in pairwise(times):
        guess = network(sample, time.expand(len(rows)), *text).float()
        sample = guess + (sample - guess) * (next_time / time)
    return float(F.cosine_similarity(sample, truth).mean())
