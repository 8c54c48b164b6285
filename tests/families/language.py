"""Tiny pipelines of further families whose text encoder is a language model."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLWan,
    BriaFiboPipeline,
    BriaFiboTransformer2DModel,
    DDPMScheduler,
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
    Ideogram4Pipeline,
    Ideogram4Transformer2DModel,
    LuminaNextDiT2DModel,
    LuminaPipeline,
    PRXPipeline,
    PRXTransformer2DModel,
    ZImageOmniPipeline,
)
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    GemmaConfig,
    GemmaModel,
    Mistral3Config,
    Mistral3Model,
    Siglip2ImageProcessorPil,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    T5GemmaConfig,
)
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

from tests.contract.pipelines import _chat_tokenizer
from tests.families.chat import _beginning, _reducing_autoencoder, _right_padded
from tests.families.pipelines import _t5, _t5_tokenizer, with_options, z_image
from tests.families.vision import _qwen_3, _seeing_tokenizer

_LANGUAGE = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


def ernie_image() -> Any:
    torch.manual_seed(0)
    tokenizer = _chat_tokenizer()
    text = {"model_type": "mistral", "vocab_size": len(tokenizer), "head_dim": 8, **_LANGUAGE}
    vision = {
        "model_type": "pixtral",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    }
    autoencoder = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=1,
    )
    transformer = ErnieImageTransformer2DModel(
        hidden_size=32,
        num_attention_heads=2,
        num_layers=1,
        ffn_hidden_size=32,
        in_channels=16,
        out_channels=16,
        text_in_dim=16,
        rope_axes_dim=(4, 6, 6),
    )
    for layer in (transformer.adaLN_modulation[-1], transformer.final_linear):  # zeros, until it is trained
        torch.nn.init.normal_(layer.weight, std=0.1)
    return ErnieImagePipeline(
        transformer=transformer,
        vae=autoencoder,
        text_encoder=Mistral3Model(Mistral3Config(text_config=text, vision_config=vision)),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def _patching_autoencoder() -> AutoencoderKLWan:
    """Latents of a sixteenth of the side, as it sees patches of two pixels."""
    return AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
    )


def bria_fibo() -> Any:
    torch.manual_seed(0)
    tokenizer = _chat_tokenizer()
    # The pipeline encodes an empty prompt as the token 128000.
    encoder = SmolLM3Config(vocab_size=128_001, pad_token_id=0, bos_token_id=0, eos_token_id=0, **_LANGUAGE)
    transformer = BriaFiboTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        text_encoder_dim=16,
        axes_dims_rope=[4, 4, 8],
    )
    return BriaFiboPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_patching_autoencoder(),
        text_encoder=SmolLM3ForCausalLM(encoder),
        tokenizer=tokenizer,
    )


def lumina() -> Any:
    torch.manual_seed(0)
    tokenizer = _beginning(_right_padded())
    transformer = LuminaNextDiT2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=4,
        hidden_size=16,
        num_layers=1,
        num_attention_heads=1,
        num_kv_heads=1,
        multiple_of=16,
        ffn_dim_multiplier=None,
        cross_attention_dim=16,
    )
    return LuminaPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_reducing_autoencoder(),
        text_encoder=GemmaModel(GemmaConfig(vocab_size=len(tokenizer), head_dim=8, pad_token_id=0, **_LANGUAGE)),
        tokenizer=tokenizer,
    )


def ideogram_4() -> Any:
    torch.manual_seed(0)
    tokenizer = _seeing_tokenizer()
    layers = 13  # the pipeline reads so many of the encoder's 36
    options = {
        "in_channels": 16,
        "num_layers": 1,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "adaln_dim": 16,
        "llm_features_dim": 16 * layers,
        "mrope_section": (4, 2, 2),
    }
    autoencoder = AutoencoderKLFlux2(
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        layers_per_block=1,
    )
    return Ideogram4Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder,
        text_encoder=_qwen_3(tokenizer, layers=36).model,
        tokenizer=tokenizer,
        transformer=Ideogram4Transformer2DModel(**options),
        unconditional_transformer=Ideogram4Transformer2DModel(**options),
    )


def z_image_omni() -> Any:
    """Takes several images, which it also shows to an encoder of images."""
    pipe = z_image()
    torch.manual_seed(0)
    vision = Siglip2VisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, patch_size=16, num_patches=64
    )
    return ZImageOmniPipeline(
        **dict(pipe.components)
        | {
            "transformer": with_options(pipe.transformer, siglip_feat_dim=16),
            "siglip": Siglip2VisionModel(vision),
            "siglip_processor": Siglip2ImageProcessorPil(patch_size=16, max_num_patches=64),
        }
    )


def prx() -> Any:
    torch.manual_seed(0)
    tokenizer = _right_padded()
    tokenizer.model_max_length = 64
    text = {"vocab_size": len(tokenizer), "head_dim": 8, "pad_token_id": 0, "query_pre_attn_scalar": 8, **_LANGUAGE}
    config = T5GemmaConfig(encoder=text, decoder=text)
    encoder = T5GemmaEncoder(config.encoder)
    encoder.config = config  # diffusers loads the encoder from the configuration of the whole T5Gemma
    transformer = PRXTransformer2DModel(
        in_channels=4, context_in_dim=16, hidden_size=32, mlp_ratio=2.0, num_heads=2, depth=1, axes_dim=[8, 8]
    )
    for name, weights in transformer.named_parameters():
        if "modulation.lin" in name:  # zeros, until it is trained
            torch.nn.init.normal_(weights, std=0.1)
    return PRXPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        vae=_reducing_autoencoder(),
        default_sample_size=32,
    )


def hunyuan_dit() -> Any:
    torch.manual_seed(0)
    letters = [chr(code) for code in range(33, 127)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)}, model_max_length=77)
    t5_tokenizer = _t5_tokenizer()
    encoder = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=77,
    )
    transformer = HunyuanDiT2DModel(
        sample_size=16,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        hidden_size=16,
        in_channels=4,
        mlp_ratio=1.0,
        cross_attention_dim=16,
        cross_attention_dim_t5=16,
        pooled_projection_dim=4,
        text_len=77,
        text_len_t5=256,
    )
    return HunyuanDiTPipeline(
        vae=_reducing_autoencoder(),
        text_encoder=BertModel(encoder),
        tokenizer=tokenizer,
        transformer=transformer,
        scheduler=DDPMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        text_encoder_2=_t5(len(t5_tokenizer)),
        tokenizer_2=t5_tokenizer,
    )
