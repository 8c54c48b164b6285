"""Tiny pipelines of families that read a prompt with CLIP or T5."""

from typing import Any

import torch
from diffusers import (
    BriaPipeline,
    BriaTransformer2DModel,
    CogVideoXDDIMScheduler,
    CogView3PlusPipeline,
    CogView3PlusTransformer2DModel,
    DDIMScheduler,
    DDPMScheduler,
    DDPMWuerstchenScheduler,
    FlowMatchEulerDiscreteScheduler,
    IFPipeline,
    Kandinsky3Pipeline,
    Kandinsky3UNet,
    StableCascadeCombinedPipeline,
    StableCascadeUNet,
    UNet2DConditionModel,
    VQModel,
)
from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel

from tests.contract.pipelines import (
    _autoencoder,
    _byte_tokenizer,
    _projecting_text_encoder,
    a_tiny_stable_diffusion,
)
from tests.families.pipelines import _t5, _t5_tokenizer, stable_diffusion_3, with_options
from worker.generators.karlo import old_module_name

_UNET = {
    "sample_size": 16,
    "layers_per_block": 1,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "cross_attention_dim": 16,
    "attention_head_dim": 4,
}


def stable_diffusion_2() -> Any:
    """Predicts the velocity, and projects with linear layers."""
    pipe: Any = a_tiny_stable_diffusion()
    torch.manual_seed(0)
    pipe.unet = UNet2DConditionModel(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        use_linear_projection=True,
        **_UNET,
    )
    pipe.scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return pipe


def stable_diffusion_3_5() -> Any:
    """Normalizes queries and keys, and attends twice in its first layers."""
    pipe: Any = stable_diffusion_3()
    torch.manual_seed(0)
    pipe.transformer = with_options(pipe.transformer, qk_norm="rms_norm", dual_attention_layers=(0,), num_layers=2)
    return pipe


def bria() -> Any:
    torch.manual_seed(0)
    tokenizer = _t5_tokenizer()
    transformer = BriaTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=[4, 4, 8],
    )
    return BriaPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_autoencoder(),
        text_encoder=_t5(len(tokenizer)),
        tokenizer=tokenizer,
    )


def deepfloyd_if() -> Any:
    """Denoises pixels: it has no autoencoder."""
    torch.manual_seed(0)
    tokenizer = _t5_tokenizer()
    options = _UNET | {"sample_size": 32, "in_channels": 3, "out_channels": 6}
    unet = UNet2DConditionModel(
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        encoder_hid_dim=16,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        resnet_time_scale_shift="scale_shift",
        time_embedding_type="positional",
        **options,
    )
    return IFPipeline(
        tokenizer=tokenizer,
        text_encoder=_t5(len(tokenizer)),
        unet=unet,
        scheduler=DDPMScheduler(variance_type="learned_range", thresholding=True, sample_max_value=1.5),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


def kandinsky_3() -> Any:
    torch.manual_seed(0)
    tokenizer = _t5_tokenizer()
    unet = Kandinsky3UNet(
        in_channels=4,
        time_embedding_dim=8,
        groups=2,
        attention_head_dim=4,
        layers_per_block=3,
        block_out_channels=(8, 16),
        cross_attention_dim=8,
        encoder_hid_dim=16,
    )
    movq = VQModel(  # the pipeline takes latents of an eighth of the side for granted
        block_out_channels=(8,) * 4,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        num_vq_embeddings=12,
        vq_embed_dim=4,
    )
    return Kandinsky3Pipeline(
        tokenizer=tokenizer, text_encoder=_t5(len(tokenizer)), unet=unet, scheduler=DDPMScheduler(), movq=movq
    )


def stable_cascade() -> Any:
    """Three stages: the prior, the decoder, and the autoencoder of its latents."""
    torch.manual_seed(0)
    tokenizer = _byte_tokenizer()
    network = {
        "conditioning_dim": 16,
        "num_attention_heads": (2,),
        "down_num_layers_per_block": (1,),
        "up_num_layers_per_block": (1,),
        "down_blocks_repeat_mappers": (1,),
        "up_blocks_repeat_mappers": (1,),
        "block_types_per_layer": (("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),),
        "block_out_channels": (16,),
        "clip_text_pooled_in_channels": 16,
        "clip_seq": 2,
        "dropout": (0.0,),
        "self_attn": (True,),
        "timestep_ratio_embedding_dim": 8,
    }
    prior = StableCascadeUNet(
        in_channels=4,
        out_channels=4,
        clip_text_in_channels=16,
        clip_image_in_channels=16,
        switch_level=(False,),
        **network,
    )
    decoder = StableCascadeUNet(in_channels=4, out_channels=4, effnet_in_channels=4, patch_size=1, **network)
    with old_module_name():
        return StableCascadeCombinedPipeline(
            tokenizer=tokenizer,
            text_encoder=_projecting_text_encoder(tokenizer),
            decoder=decoder,
            scheduler=DDPMWuerstchenScheduler(),
            vqgan=PaellaVQModel(bottleneck_blocks=1, embed_dim=16, num_vq_embeddings=4, latent_channels=4),
            prior_prior=prior,
            prior_text_encoder=_projecting_text_encoder(tokenizer),
            prior_tokenizer=tokenizer,
            prior_scheduler=DDPMWuerstchenScheduler(),
        )


def cogview_3() -> Any:
    torch.manual_seed(0)
    tokenizer = _t5_tokenizer()
    transformer = CogView3PlusTransformer2DModel(
        patch_size=2,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        out_channels=4,
        text_embed_dim=16,
        time_embed_dim=8,
        condition_dim=4,
        pos_embed_max_size=16,
        sample_size=16,
    )
    return CogView3PlusPipeline(
        tokenizer=tokenizer,
        text_encoder=_t5(len(tokenizer)),
        vae=_autoencoder(),
        transformer=transformer,
        scheduler=CogVideoXDDIMScheduler(),
    )
