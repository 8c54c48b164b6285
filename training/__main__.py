"""`python -m training all`: every stage in order; or some by their names. What is done already is not done again."""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import torch

from training import (
    autoencoder,
    clip,
    configuration,
    data,
    decoder,
    export,
    features,
    judge,
    prior,
    sample,
    tokenizer,
    upscaler,
)
from training.configuration import Budget, Configuration

STAGES = (
    "data", "tokenizer", "judge", "clip", "autoencoder", "upscaler", "features", "prior", "decoder", "export", "sample",
)  # fmt: skip


def run(stage: str, settings: Configuration, out: Path) -> None:
    """Run one stage on what the stages before it left."""
    match stage:
        case "data":
            data.compose(settings)
        case "tokenizer":
            tokenizer.train(settings)
        case "judge":
            judge.train(settings)
        case "clip":
            clip.train(settings)
        case "autoencoder":
            autoencoder.train(settings)
        case "features":
            features.compute(settings)
        case "upscaler":
            upscaler.train(settings)
        case "prior":
            prior.train(settings)
        case "decoder":
            decoder.train(settings)
        case "export":
            export.write(settings, out)
        case "sample":
            sample.report(settings, out, count=20 if settings.tiny else 250)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("stages", nargs="+", choices=("all", *STAGES), metavar="stage", help=", ".join(STAGES))
    parser.add_argument("--data", type=Path, default=configuration.DEFAULT_DATA, help="working folder")
    parser.add_argument(
        "--out", type=Path, default=Path("models/unclip-mini"), help="model folder to export to, and to sample"
    )
    parser.add_argument("--start", type=Path, help="model folder to start from, such as models/unclip-mini")
    parser.add_argument("--minutes", type=float, help="time for the decoder; more of it resumes a finished run")
    parser.add_argument("--processes", type=int, help="decoder processes on a CPU; each has one thread")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--tiny", action="store_true", help="the whole chain in two minutes, for a test")
    arguments = parser.parse_args()

    settings = configuration.tiny(arguments.data) if arguments.tiny else Configuration(data=arguments.data)
    settings = replace(settings, start=arguments.start)
    if arguments.minutes is not None:
        settings = replace(settings, decoder_budget=Budget(minutes=arguments.minutes))
    if arguments.processes is not None:
        settings = replace(settings, processes=arguments.processes)
    if arguments.seed is not None:
        settings = replace(settings, seed=arguments.seed)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    torch.set_num_threads(1)
    for stage in STAGES if "all" in arguments.stages else arguments.stages:
        print(f"== {stage}", flush=True)
        run(stage, settings, arguments.out)


if __name__ == "__main__":
    main()
