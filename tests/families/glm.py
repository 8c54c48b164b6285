"""Tiny pipelines of families whose text encoder is a language model of the GLM family."""

import atexit
import io
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import (
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    GlmImagePipeline,
    GlmImageTransformer2DModel,
    KolorsPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    ByT5Tokenizer,
    GlmImageConfig,
    GlmImageForConditionalGeneration,
    GlmImageImageProcessorPil,
    GlmImageProcessor,
    Qwen2TokenizerFast,
)

from tests.contract.pipelines import SIDE_PX, _autoencoder
from tests.families.chat import _reducing_autoencoder
from tests.families.pipelines import _t5, with_options


def kolors() -> Any:
    # Only these need sentencepiece, with which diffusers imports much more.
    from diffusers.pipelines.kolors import ChatGLMModel
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig

    torch.manual_seed(0)
    width, width_of_times = 32, 8
    tokenizer = _letter_tokenizer()
    encoder = ChatGLMConfig(
        num_layers=2,
        padded_vocab_size=tokenizer.vocab_size,
        hidden_size=width,
        ffn_hidden_size=32,
        kv_channels=8,
        num_attention_heads=4,
        multi_query_attention=True,
        multi_query_group_num=2,
        seq_length=256,
        original_rope=True,
    )
    unet = UNet2DConditionModel(
        sample_size=SIDE_PX // 2,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=width_of_times,
        projection_class_embeddings_input_dim=6 * width_of_times + width,
    )
    return KolorsPipeline(
        vae=_autoencoder(),
        text_encoder=_initialized(ChatGLMModel(encoder)),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1),
    )


def _letter_tokenizer() -> Any:
    """ChatGLM's tokenizer, with a piece for each letter."""
    from diffusers.pipelines.kolors import ChatGLMTokenizer
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    letters = "".join(chr(code) for code in range(33, 127))
    SentencePieceTrainer.train(
        sentence_iterator=iter([letters, " ".join(letters)]),
        model_writer=model,
        model_type="char",
        vocab_size=200,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path = _folder() / "tokenizer.model"  # the tokenizer reads it again when it is saved
    path.write_bytes(model.getvalue())
    return ChatGLMTokenizer(str(path))


@cache
def _folder() -> Path:
    """A folder that exists until this process ends."""
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _initialized(network: Any) -> Any:
    """The same network. diffusers leaves its weights as they are in memory."""
    for name, weights in network.named_parameters():
        if "layernorm" in name:
            torch.nn.init.ones_(weights)
        else:
            torch.nn.init.normal_(weights, std=0.1)
    return network


_GRID_TOKENS = {"image_token": "<|image|>", "grid_bos_token": "<sop>", "grid_eos_token": "<eop>"}
_CHAT = (
    "{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|image|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endfor %}"
)
_TOKEN_PX = 32
"""Pixels of the side of the square that a token of the plan stands for."""
_PLAN_TOKENS = 32


def glm_image() -> Any:
    """A language model plans an image in tokens, also one that is given, before the transformer draws it."""
    torch.manual_seed(0)
    letters = sorted(ByteLevel.alphabet())
    words = ["<|endoftext|>", "<|begin|>", "<|end|>", *_GRID_TOKENS.values(), *letters]
    tokenizer = Qwen2TokenizerFast(
        vocab={word: number for number, word in enumerate(words)},
        merges=[],
        pad_token="<|endoftext|>",
        bos_token="<|begin|>",
        extra_special_tokens=_GRID_TOKENS,
    )
    processor = GlmImageProcessor(
        GlmImageImageProcessorPil(
            patch_size=_TOKEN_PX,
            merge_size=1,
            temporal_patch_size=1,
            size={"shortest_edge": _TOKEN_PX**2, "longest_edge": (8 * _TOKEN_PX) ** 2},
        ),
        tokenizer,
        chat_template=_CHAT,
    )
    glyph_tokenizer = ByT5Tokenizer()
    transformer = GlmImageTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        text_embed_dim=16,
        time_embed_dim=16,
        condition_dim=8,
        prior_vq_quantizer_codebook_size=_PLAN_TOKENS,
    )
    return GlmImagePipeline(
        tokenizer=glyph_tokenizer,
        processor=processor,
        text_encoder=_t5(len(glyph_tokenizer)),
        vision_language_encoder=GlmImageForConditionalGeneration(_planner(tokenizer, len(words))),
        vae=with_options(_reducing_autoencoder(), latents_mean=[0.0] * 4, latents_std=[1.0] * 4),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def _planner(tokenizer: Any, word_count: int) -> GlmImageConfig:
    """The configuration of the language model."""
    text = {
        "vocab_size": word_count,
        "vision_vocab_size": _PLAN_TOKENS,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
        "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 10000.0},
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "patch_size": _TOKEN_PX,
        "image_size": 8 * _TOKEN_PX,
    }
    return GlmImageConfig(
        text_config=text,
        vision_config=vision,
        vq_config={"embed_dim": 16, "num_embeddings": _PLAN_TOKENS, "latent_channels": 16},
        image_token_id=tokenizer.convert_tokens_to_ids("<|image|>"),
        image_start_token_id=tokenizer.convert_tokens_to_ids("<|begin|>"),
        image_end_token_id=tokenizer.convert_tokens_to_ids("<|end|>"),
    )
