"""Tiny pipelines of families whose text encoder is a language model that also sees images."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    AutoencoderTiny,
    DreamLiteMobilePipeline,
    DreamLitePipeline,
    DreamLiteUNetModel,
    FlowMatchEulerDiscreteScheduler,
    Kandinsky5I2IPipeline,
    Kandinsky5T2IPipeline,
    Kandinsky5Transformer3DModel,
    LongCatImageEditPipeline,
    LongCatImagePipeline,
    LongCatImageTransformer2DModel,
    NucleusMoEImagePipeline,
    NucleusMoEImageTransformer2DModel,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImageLayeredPipeline,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2TokenizerFast,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from tests.contract.pipelines import _byte_tokenizer, _text_encoder
from tests.families.chat import _reducing_autoencoder, qwen_autoencoder, qwen_image
from worker.generators.processors import without_videos

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
_PATCH = 14
"""Pixels of the side of a patch that the encoder sees."""
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
)


def _seeing_tokenizer() -> Any:
    """Qwen's tokenizer without a merge, with its special tokens."""
    letters = sorted(ByteLevel.alphabet())
    tokens = {token: number for number, token in enumerate([*_SPECIAL, "<|video_pad|>", *letters])}
    tokenizer = Qwen2TokenizerFast(vocab=tokens, merges=[], pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": [*_SPECIAL[1:], "<|video_pad|>"]})
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def _processor(kind: Any, tokenizer: Any) -> Any:
    """Each image becomes few patches, so that a test is fast."""
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 56 * 56, "longest_edge": 56 * 56},
        patch_size=_PATCH,
    )
    return without_videos(kind)(images, tokenizer, chat_template=_TEMPLATE)


def _qwen_2(tokenizer: Any, width: int = 16) -> Any:
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 10000.0},
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": width,
        "patch_size": _PATCH,
    }
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config=text, vision_config=vision, **_special_ids(tokenizer))
    )


def _qwen_3(tokenizer: Any, width: int = 16, layers: int = 2) -> Any:
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 10000.0},
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": width,
        "patch_size": _PATCH,
        "deepstack_visual_indexes": [0],
    }
    return Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(text_config=text, vision_config=vision, **_special_ids(tokenizer))
    )


def _special_ids(tokenizer: Any) -> dict[str, int]:
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def qwen_image_edit(family: Any = QwenImageEditPipeline) -> Any:
    """It scales each input image to an area of its own, of a million pixels, so the latents are small."""
    parts = dict(qwen_image().components)
    tokenizer = _seeing_tokenizer()
    torch.manual_seed(0)
    autoencoder = AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, False, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    return family(
        **parts
        | {
            "vae": autoencoder,
            "text_encoder": _qwen_2(tokenizer),
            "tokenizer": tokenizer,
            "processor": _processor(Qwen2VLProcessor, tokenizer),
        }
    )


def qwen_image_edit_plus() -> Any:
    return qwen_image_edit(QwenImageEditPlusPipeline)


def qwen_image_layered() -> Any:
    return qwen_image_edit(QwenImageLayeredPipeline)


def kandinsky_5(family: Any = Kandinsky5T2IPipeline) -> Any:
    torch.manual_seed(0)
    tokenizer, clip_tokenizer = _seeing_tokenizer(), _byte_tokenizer(77)
    is_edit = family is Kandinsky5I2IPipeline
    transformer = Kandinsky5Transformer3DModel(
        in_visual_dim=4,
        in_text_dim=16,
        in_text_dim2=16,
        time_dim=16,
        out_visual_dim=4,
        patch_size=(1, 2, 2),
        model_dim=16,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=1,
        axes_dims=(4, 6, 6),
        visual_cond=is_edit,
    )
    for name, weights in transformer.named_parameters():
        if "modulation.out_layer" in name:  # zeros, until it is trained
            torch.nn.init.normal_(weights, std=0.1)
    return family(
        transformer=transformer,
        vae=_reducing_autoencoder(),
        text_encoder=_qwen_2(tokenizer),
        tokenizer=_processor(Qwen2VLProcessor, tokenizer),
        text_encoder_2=_text_encoder(clip_tokenizer),
        tokenizer_2=clip_tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def kandinsky_5_edit() -> Any:
    return kandinsky_5(Kandinsky5I2IPipeline)


def longcat_image(family: Any = LongCatImagePipeline) -> Any:
    torch.manual_seed(0)
    tokenizer = _seeing_tokenizer()
    transformer = LongCatImageTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=[4, 4, 8],
    )
    return family(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKL(  # the pipeline takes 16 channels for granted
            block_out_channels=(8, 8, 8, 8),
            norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=16,
            shift_factor=0.0,
        ),
        text_encoder=_qwen_2(tokenizer),
        tokenizer=tokenizer,
        text_processor=_processor(Qwen2VLProcessor, tokenizer),
        transformer=transformer,
    )


def longcat_image_edit() -> Any:
    return longcat_image(LongCatImageEditPipeline)


def nucleus() -> Any:
    """A mixture of experts in each block."""
    torch.manual_seed(0)
    tokenizer = _seeing_tokenizer()
    transformer = NucleusMoEImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4),
        dense_moe_strategy="all_moe",
        num_experts=2,
        moe_intermediate_dim=16,
        capacity_factors=[2.0, 2.0],
    )
    for name, weights in transformer.named_parameters():
        if name.endswith("_up_proj") or name.endswith("down_proj"):  # diffusers leaves them as they are in memory
            torch.nn.init.normal_(weights, std=0.1)
    return NucleusMoEImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=qwen_autoencoder(),
        text_encoder=_qwen_3(tokenizer, layers=8),
        processor=_processor(Qwen3VLProcessor, tokenizer),
    )


def dreamlite(family: Any = DreamLitePipeline) -> Any:
    torch.manual_seed(0)
    tokenizer = _seeing_tokenizer()
    unet = DreamLiteUNetModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DreamLiteCrossAttnNoSelfAttnDownBlock2D", "DreamLiteCrossAttnDownBlock2D"),
        up_block_types=("DreamLiteCrossAttnUpBlock2D", "DreamLiteUpBlock2D"),
        block_out_channels=(16, 16),
        cross_attention_dim=16,
        attention_head_dim=8,
        layers_per_block=1,
        norm_num_groups=4,
    )
    autoencoder = AutoencoderTiny(
        encoder_block_out_channels=(16, 16),
        decoder_block_out_channels=(16, 16),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=4,
    )
    return family(
        text_encoder=_qwen_3(tokenizer),
        tokenizer=tokenizer,
        processor=_processor(Qwen3VLProcessor, tokenizer),
        vae=autoencoder,
        unet=unet,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def dreamlite_mobile() -> Any:
    return dreamlite(DreamLiteMobilePipeline)
