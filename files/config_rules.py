"""What the entries of a checkpoint's configuration files may be.

Entries without a rule are of sane size, and whatever makes no network is refused when it is built.
"""

from .json_files import FLAG, Rule, either, number, optional, sequence, text, whole

_CHANNELS = whole(1, 65536)
_LAYERS = whole(1, 64)
_FACTOR = number(1e-6, 1e6)
_NORM = number(1e-12, 1)
_BLOCKS = sequence(text(), 1, 8)
_PER_BLOCK = either(_LAYERS, sequence(either(_LAYERS, sequence(_LAYERS, 1, 64)), 1, 8))
_HEADS = either(whole(1, 8192), sequence(whole(1, 8192), 1, 8))

_NETWORK: dict[str, Rule] = {
    "_class_name": text(),
    "act_fn": text(),
    "block_out_channels": sequence(_CHANNELS, 1, 8),
    "down_block_types": _BLOCKS,
    "in_channels": _CHANNELS,
    "layers_per_block": either(_LAYERS, sequence(_LAYERS, 1, 8)),
    "norm_num_groups": optional(_CHANNELS),
}
UNET: dict[str, Rule] = {
    **_NETWORK,
    "addition_embed_type": optional(text()),
    "addition_time_embed_dim": optional(_CHANNELS),
    "attention_head_dim": optional(_HEADS),
    "center_input_sample": FLAG,
    "class_embed_type": optional(text()),
    "conv_in_kernel": whole(1, 15),
    "conv_out_kernel": whole(1, 15),
    "cross_attention_dim": either(_CHANNELS, sequence(_CHANNELS, 1, 8)),
    "downsample_padding": whole(0, 8),
    "encoder_hid_dim": optional(_CHANNELS),
    "encoder_hid_dim_type": optional(text()),
    "flip_sin_to_cos": FLAG,
    "freq_shift": number(-1000, 1000),
    "mid_block_scale_factor": _FACTOR,
    "norm_eps": _NORM,
    "num_attention_heads": optional(_HEADS),
    "num_class_embeds": optional(_CHANNELS),
    "out_channels": _CHANNELS,
    "projection_class_embeddings_input_dim": optional(_CHANNELS),
    "resnet_out_scale_factor": _FACTOR,
    "resnet_time_scale_shift": text(),
    "time_cond_proj_dim": optional(whole(4, 65536)),
    "time_embedding_dim": optional(_CHANNELS),
    "time_embedding_type": text(),
    "transformer_layers_per_block": _PER_BLOCK,
    "up_block_types": _BLOCKS,
    "use_linear_projection": FLAG,
}
CONTROLNET: dict[str, Rule] = {
    **UNET,
    "conditioning_channels": whole(1, 64),
    "conditioning_embedding_out_channels": optional(sequence(_CHANNELS, 1, 16)),
}
VAE: dict[str, Rule] = {
    **_NETWORK,
    "latent_channels": whole(1, 1024),
    "latents_mean": optional(sequence(number(-1e6, 1e6), 0, 1024)),
    "latents_std": optional(sequence(number(-1e6, 1e6), 0, 1024)),
    "out_channels": _CHANNELS,
    "scaling_factor": _FACTOR,
    "shift_factor": optional(number(-1e6, 1e6)),
    "up_block_types": _BLOCKS,
}
TEXT: dict[str, Rule] = {
    "architectures": optional(sequence(text(), 1, 8)),
    "bos_token_id": optional(whole(-1, 10_000_000)),
    "eos_token_id": optional(whole(-1, 10_000_000)),
    "hidden_act": text(),
    "hidden_size": _CHANNELS,
    "intermediate_size": _CHANNELS,
    "layer_norm_eps": _NORM,
    "max_position_embeddings": whole(3, 4096),
    "num_attention_heads": whole(1, 1024),
    "num_hidden_layers": _LAYERS,
    "pad_token_id": optional(whole(-1, 10_000_000)),
    "projection_dim": _CHANNELS,
    "vocab_size": whole(3, 10_000_000),
}
TEXT_NEEDED = ("hidden_size", "num_hidden_layers", "vocab_size")
_BETA = number(1e-9, 0.999)
SCHEDULER: dict[str, Rule] = {
    "_class_name": text(),
    "beta_end": _BETA,
    "beta_schedule": text(),
    "beta_start": _BETA,
    "original_inference_steps": optional(whole(1, 1000)),
    "num_train_timesteps": whole(1, 100_000),
    "prediction_type": text(),
    "rescale_betas_zero_snr": FLAG,
    "trained_betas": optional(sequence(number(0, 0.9999999), 1, 100_000)),
}
INDEX_ENTRY = either(text(), FLAG, optional(sequence(optional(text()), 2, 2)))
