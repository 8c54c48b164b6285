"""Fine-tuning of the bundled model: a new word is learnt from twelve images, by the training of fine-tuning jobs."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from core.settings import Settings
from training import new_word
from worker.generators.unclip.conditioning import encode_images, encode_text
from worker.generators.unclip.pipeline import UnclipPipeline

NAMES = ("penguin", "dog", "car", "tree", "house", "bird", "ball", "cloud")


@torch.no_grad()
def share(pipeline: UnclipPipeline, images: Sequence[Image.Image], name: str) -> float:
    """In which share of the images the model's own CLIP sees an object rather than the others, or nothing."""
    device = torch.device("cpu")
    prompts = [f"a {other} on the grass" for other in NAMES] + ["grass"]
    texts = encode_text(prompts, pipeline.tokenizer, pipeline.text_encoder, device).embeds
    seen = encode_images(images, pipeline.image_encoder, device)
    scores = torch.nn.functional.normalize(seen, dim=1) @ torch.nn.functional.normalize(texts, dim=1).T
    return float((scores.argmax(1) == NAMES.index(name)).float().mean())


@pytest.mark.slow
def test_a_new_word_is_learnt_from_twelve_images(tmp_path: Path) -> None:
    settings = Settings(torch_threads=1)
    pipeline = new_word.open_pipeline(settings)
    prompts = [f"a {new_word.WORD} on the grass"] * 8
    before = share(pipeline, new_word.draw(pipeline, prompts), "penguin")
    pairs = new_word.examples(pipeline)
    assert share(pipeline, [image for image, _ in pairs[:3]], "penguin") == 1
    path = tmp_path / "lora.safetensors"
    new_word.train(settings, pairs, new_word.hyperparameters(settings, 120), path)
    new_word.apply(pipeline, path)
    after = share(pipeline, new_word.draw(pipeline, prompts), "penguin")
    assert before == 0
    assert after >= 0.7
    dogs = new_word.draw(pipeline, ["a dog on the grass"] * 8)
    assert share(pipeline, dogs, "dog") >= 0.7
