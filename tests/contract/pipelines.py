"""Tiny diffusers pipelines with random weights: real classes and folders, and an image takes milliseconds."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    DiffusionPipeline,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    PriorTransformer,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UnCLIPImageVariationPipeline,
    UnCLIPPipeline,
    UnCLIPScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Qwen2TokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
)

from worker.generators.karlo import old_module_name

SIDE_PX = 32

# diffusers' schedulers hand torch's tensors to numpy.array(); torch's __array__ does not know numpy 2's `copy` yet.
warnings_of_diffusers = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


def a_tiny_stable_diffusion(family: Any = StableDiffusionPipeline, channels: int = 4) -> DiffusionPipeline:
    """Stable Diffusion's classes at a ten-thousandth of its size; draws 32x32 and multiples of two.

    Its solver adds noise in each step, so an image that shared a generator with its neighbours would show it.
    family: the class; channels: what its denoiser sees, 9 for one that is made for inpainting.
    """
    torch.manual_seed(0)
    tokenizer = _byte_tokenizer()
    text_encoder = _text_encoder(tokenizer)
    unet = UNet2DConditionModel(
        sample_size=SIDE_PX // 2,
        in_channels=channels,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
    )
    return family(
        vae=_autoencoder(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=EulerAncestralDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def a_tiny_sdxl() -> DiffusionPipeline:
    """SDXL's classes: two text encoders, and zeros in the place of an absent negative prompt."""
    torch.manual_seed(0)
    tokenizer = _byte_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=SIDE_PX // 2,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
    )
    return StableDiffusionXLPipeline(
        vae=_autoencoder(),
        text_encoder=_text_encoder(tokenizer),
        text_encoder_2=_projecting_text_encoder(tokenizer),
        tokenizer=tokenizer,
        tokenizer_2=_byte_tokenizer(),
        unet=unet,
        scheduler=EulerAncestralDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1),
        add_watermarker=False,
    )


def a_tiny_flux2() -> DiffusionPipeline:
    """FLUX.2 klein's classes: it takes a list of images as references for every prompt of the call."""
    torch.manual_seed(0)
    tokenizer = _chat_tokenizer()
    text_encoder = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=27,  # the pipeline reads layers 9, 18 and 27
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
        )
    )
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        layers_per_block=1,
    )
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
        is_distilled=True,
    )


def a_tiny_flux() -> DiffusionPipeline:
    """Flux's classes: a transformer called by keywords, flow matching, and a negative prompt off until asked for."""
    torch.manual_seed(0)
    tokenizer = _byte_tokenizer()
    t5 = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_autoencoder(),
        text_encoder=_text_encoder(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=_byte_tokenizer(512),
        transformer=transformer,
    )


def a_tiny_karlo() -> DiffusionPipeline:
    """Karlo's three stages and three schedulers; draws 32x32 and nothing else."""
    torch.manual_seed(0)
    tokenizer = _byte_tokenizer()
    prior = PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        embedding_dim=16,
        num_embeddings=tokenizer.model_max_length,
    )
    with old_module_name():
        return UnCLIPPipeline(
            prior=prior,
            prior_scheduler=UnCLIPScheduler(
                variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=5.0
            ),
            tokenizer=tokenizer,
            text_encoder=_projecting_text_encoder(tokenizer),
            **_karlo_decoder(),
        )


def a_tiny_karlo_of_variations() -> DiffusionPipeline:
    """Karlo's image variations: an image encoder in the place of the prior."""
    torch.manual_seed(0)
    tokenizer = _byte_tokenizer()
    image_encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            projection_dim=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
        )
    )
    with old_module_name():
        return UnCLIPImageVariationPipeline(
            tokenizer=tokenizer,
            text_encoder=_projecting_text_encoder(tokenizer),
            feature_extractor=CLIPImageProcessor(
                crop_size={"height": 16, "width": 16}, size={"shortest_edge": 16}, resample=3
            ),
            image_encoder=image_encoder,
            **_karlo_decoder(),
        )


def save_pipeline(pipe: DiffusionPipeline, folder: Path, *, safetensors: bool = True) -> Path:
    pipe.save_pretrained(folder, safe_serialization=safetensors)
    return folder


def _byte_tokenizer(longest: int = 32) -> CLIPTokenizer:
    """CLIP's tokenizer without a merge: every byte is a token."""
    letters = sorted(ByteLevel.alphabet())
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)}, merges=[], model_max_length=longest
    )


def _chat_tokenizer() -> Qwen2TokenizerFast:
    """Qwen's tokenizer without a merge, and a chat template that adds nothing."""
    letters = sorted(ByteLevel.alphabet())
    tokens = {token: number for number, token in enumerate(["<|endoftext|>", *letters])}
    tokenizer = Qwen2TokenizerFast(vocab=tokens, merges=[], pad_token="<|endoftext|>")
    tokenizer.chat_template = "{{ messages[0].content }}"
    return tokenizer


def _text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(_text_configuration(tokenizer))


def _text_configuration(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        projection_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def _autoencoder() -> AutoencoderKL:
    """Two levels: latents of half the side."""
    return AutoencoderKL(
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        shift_factor=0.0,
    )


def _karlo_decoder() -> dict[str, Any]:
    """The stages that draw: 16 px from the image embedding, 32 px from those."""

    def super_resolution() -> UNet2DModel:
        return UNet2DModel(
            sample_size=SIDE_PX,
            in_channels=6,
            out_channels=3,
            layers_per_block=1,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            down_block_types=("ResnetDownsampleBlock2D",) * 2,
            up_block_types=("ResnetUpsampleBlock2D",) * 2,
            add_attention=False,
        )

    return {
        "text_proj": UnCLIPTextProjModel(clip_embeddings_dim=16, time_embed_dim=32, cross_attention_dim=16),
        "decoder": UNet2DConditionModel(
            sample_size=SIDE_PX // 2,
            in_channels=3,
            out_channels=6,
            layers_per_block=1,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
            resnet_time_scale_shift="scale_shift",
            class_embed_type="identity",
        ),
        "super_res_first": super_resolution(),
        "super_res_last": super_resolution(),
        "decoder_scheduler": UnCLIPScheduler(variance_type="learned_range", prediction_type="epsilon"),
        "super_res_scheduler": UnCLIPScheduler(variance_type="fixed_small_log", prediction_type="epsilon"),
    }


def _projecting_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(_text_configuration(tokenizer))
