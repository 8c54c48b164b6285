"""Tiny pipelines of further families with random weights, on the parts of `tests/contract/pipelines.py`."""

from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderKL,
    ChromaPipeline,
    ChromaTransformer2DModel,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxTransformer2DModel,
    KandinskyV22CombinedPipeline,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    PriorTransformer,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

from tests.contract.pipelines import (
    _autoencoder,
    _byte_tokenizer,
    _chat_tokenizer,
    _projecting_text_encoder,
    _text_encoder,
)

_HEADS = {"attention_head_dim": 16, "num_attention_heads": 2}


def stable_diffusion_3() -> Any:
    torch.manual_seed(0)
    tokenizer, t5_tokenizer = _byte_tokenizer(), _byte_tokenizer(512)
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=1,
        in_channels=16,
        out_channels=16,
        num_layers=1,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=32,
        **_HEADS,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKL(
            block_out_channels=(8, 16),
            norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=16,  # the pipeline for inpainting takes no other number
            shift_factor=0.0,
        ),
        text_encoder=_projecting_text_encoder(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=_projecting_text_encoder(tokenizer),
        tokenizer_2=_byte_tokenizer(),
        text_encoder_3=_t5(len(t5_tokenizer), width=32),
        tokenizer_3=t5_tokenizer,
    )


def kontext() -> Any:
    torch.manual_seed(0)
    tokenizer, t5_tokenizer = _byte_tokenizer(), _byte_tokenizer(512)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
        **_HEADS,
    )
    return FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_autoencoder(),
        text_encoder=_text_encoder(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=_t5(len(t5_tokenizer)),
        tokenizer_2=t5_tokenizer,
        transformer=transformer,
    )


def chroma() -> Any:
    torch.manual_seed(0)
    tokenizer = _t5_tokenizer()
    transformer = ChromaTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        joint_attention_dim=16,
        axes_dims_rope=(4, 4, 8),
        approximator_num_channels=8,
        approximator_hidden_dim=16,
        approximator_layers=1,
        **_HEADS,
    )
    return ChromaPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_autoencoder(),
        text_encoder=_t5(len(tokenizer)),
        tokenizer=tokenizer,
        transformer=transformer,
    )


def pixart(family: Any = PixArtAlphaPipeline) -> Any:
    torch.manual_seed(0)
    tokenizer = _t5_tokenizer()
    transformer = PixArtTransformer2DModel(
        sample_size=16,
        num_layers=1,
        cross_attention_dim=32,
        caption_channels=16,
        use_additional_conditions=False,
        **_HEADS,
    )
    return family(
        tokenizer=tokenizer,
        text_encoder=_t5(len(tokenizer)),
        vae=_autoencoder(),
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(),
    )


def pixart_sigma() -> Any:
    return pixart(PixArtSigmaPipeline)


def auraflow() -> Any:
    torch.manual_seed(0)
    tokenizer = _t5_tokenizer()
    encoder = UMT5EncoderModel(
        UMT5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )
    transformer = AuraFlowTransformer2DModel(
        sample_size=16,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        joint_attention_dim=16,
        caption_projection_dim=32,
        pos_embed_max_size=256,
        **_HEADS,
    )
    return AuraFlowPipeline(
        tokenizer=tokenizer,
        text_encoder=encoder,
        vae=_autoencoder(),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def z_image() -> Any:
    torch.manual_seed(0)
    tokenizer = _chat_tokenizer()
    encoder = _qwen3(len(tokenizer), layers=2)
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[512, 64, 64],
    )
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_autoencoder(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        transformer=transformer,
    )


def latent_consistency() -> Any:
    torch.manual_seed(0)
    tokenizer = _byte_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=16,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        time_cond_proj_dim=8,
    )
    return LatentConsistencyModelPipeline(
        vae=_autoencoder(),
        text_encoder=_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=LCMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def kandinsky_22() -> Any:
    torch.manual_seed(0)
    tokenizer = _byte_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=8,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        addition_embed_type="image",
        encoder_hid_dim=16,
        encoder_hid_dim_type="image_proj",
        resnet_time_scale_shift="scale_shift",
    )
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        projection_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=224,
        patch_size=112,
    )
    return KandinskyV22CombinedPipeline(
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1, prediction_type="epsilon"),
        movq=VQModel(
            block_out_channels=(8, 16),
            norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
            up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
            latent_channels=4,
            num_vq_embeddings=12,
            vq_embed_dim=4,
        ),
        prior_prior=PriorTransformer(
            num_attention_heads=2, attention_head_dim=8, num_layers=1, embedding_dim=16, num_embeddings=32
        ),
        prior_image_encoder=CLIPVisionModelWithProjection(vision),
        prior_text_encoder=_projecting_text_encoder(tokenizer),
        prior_tokenizer=tokenizer,
        prior_scheduler=UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=10.0
        ),
        prior_image_processor=CLIPImageProcessor(resample=3),
    )


def with_options(network: Any, **options: Any) -> Any:
    """A network of the same kind with some other options, and new weights."""
    config = {name: value for name, value in network.config.items() if not name.startswith("_")}
    return type(network)(**config | options)


def _qwen3(vocabulary: int, layers: int) -> Qwen3Model:
    return Qwen3Model(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
        )
    )


def _t5_tokenizer() -> T5Tokenizer:
    letters = [chr(code) for code in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -2.0), *((letter, -3.0) for letter in letters)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)


def _t5(vocabulary: int, width: int = 16) -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=vocabulary, d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2))
