"""Test-only stand-ins for other packs' nodes in shipped workflows: sockets, nothing behind.

So that the workflows can be built and loaded on the canvas where those packs are not installed.
"""

import comfy.samplers
import folder_paths

TILES = ("INT", {"default": 512, "min": 64, "max": 8192, "step": 64})
SWITCH = ("BOOLEAN", {"default": True})


def number(default, low, high, step):
    kind = "INT" if isinstance(default, int) else "FLOAT"
    return kind, {"default": default, "min": low, "max": high, "step": step}


def stand_in(outputs, **inputs):
    def sockets(cls):
        given = {k: v() if callable(v) else v for k, v in inputs.items()}
        return {"required": {k: v if isinstance(v, tuple) else (v,) for k, v in given.items()}}

    def run(self, **_):
        raise NotImplementedError("a stand-in: install the pack that this node is of")

    names, types = zip(*outputs, strict=True)
    body = {"INPUT_TYPES": classmethod(sockets), "RETURN_TYPES": types, "RETURN_NAMES": names}
    return type("StandIn", (), {**body, "FUNCTION": "run", "run": run, "CATEGORY": "test"})


NODE_CLASS_MAPPINGS = {
    "SUPIR_model_loader_v2": stand_in(
        [("SUPIR_model", "SUPIRMODEL"), ("SUPIR_VAE", "SUPIRVAE")],
        model="MODEL",
        clip="CLIP",
        vae="VAE",
        supir_model=lambda: (folder_paths.get_filename_list("checkpoints"),),
        fp8_unet=("BOOLEAN", {"default": False}),
        diffusion_dtype=(["fp16", "bf16", "fp32", "auto"], {"default": "auto"}),
    ),
    "SUPIR_encode": stand_in(
        [("latent", "LATENT")],
        SUPIR_VAE="SUPIRVAE",
        image="IMAGE",
        use_tiled_vae=SWITCH,
        encoder_tile_size=TILES,
        encoder_dtype=(["bf16", "fp32", "auto"], {"default": "auto"}),
    ),
    "SUPIR_conditioner": stand_in(
        [("positive", "SUPIR_cond_pos"), ("negative", "SUPIR_cond_neg")],
        SUPIR_model="SUPIRMODEL",
        latents="LATENT",
        positive_prompt=("STRING", {"multiline": True}),
        negative_prompt=("STRING", {"multiline": True}),
    ),
    "SUPIR_sample": stand_in(
        [("latent", "LATENT")],
        SUPIR_model="SUPIRMODEL",
        latents="LATENT",
        positive="SUPIR_cond_pos",
        negative="SUPIR_cond_neg",
        seed=number(123, 0, 2**64 - 1, 1),
        steps=number(45, 3, 4096, 1),
        cfg_scale_start=number(4.0, 0.0, 100.0, 0.01),
        cfg_scale_end=number(4.0, 0.0, 100.0, 0.01),
        EDM_s_churn=number(5, 0, 40, 1),
        s_noise=number(1.003, 1.0, 1.1, 0.001),
        DPMPP_eta=number(1.0, 0.0, 10.0, 0.01),
        control_scale_start=number(1.0, 0.0, 10.0, 0.01),
        control_scale_end=number(1.0, 0.0, 10.0, 0.01),
        restore_cfg=number(-1.0, -1.0, 20.0, 0.01),
        keep_model_loaded=("BOOLEAN", {"default": False}),
        sampler=(
            [
                "RestoreDPMPP2MSampler",
                "RestoreEDMSampler",
                "TiledRestoreDPMPP2MSampler",
                "TiledRestoreEDMSampler",
            ],
            {"default": "RestoreEDMSampler"},
        ),
    ),
    "SUPIR_decode": stand_in(
        [("image", "IMAGE")],
        SUPIR_VAE="SUPIRVAE",
        latents="LATENT",
        use_tiled_vae=SWITCH,
        decoder_tile_size=TILES,
    ),
    "UltimateSDUpscale": stand_in(
        [("IMAGE", "IMAGE")],
        image="IMAGE",
        model="MODEL",
        positive="CONDITIONING",
        negative="CONDITIONING",
        vae="VAE",
        upscale_by=number(2.0, 0.05, 4.0, 0.05),
        seed=number(0, 0, 2**64 - 1, 1),
        steps=number(20, 1, 10000, 1),
        cfg=number(8.0, 0.0, 100.0, 0.1),
        sampler_name=lambda: (comfy.samplers.KSampler.SAMPLERS,),
        scheduler=lambda: (comfy.samplers.KSampler.SCHEDULERS,),
        denoise=number(0.2, 0.0, 1.0, 0.01),
        upscale_model="UPSCALE_MODEL",
        mode_type=(["Linear", "Chess", "None"],),
        tile_width=TILES,
        tile_height=TILES,
        mask_blur=number(8, 0, 64, 1),
        tile_padding=number(32, 0, 8192, 8),
        seam_fix_mode=(["None", "Band Pass", "Half Tile", "Half Tile + Intersections"],),
        seam_fix_denoise=number(1.0, 0.0, 1.0, 0.01),
        seam_fix_width=number(64, 0, 8192, 8),
        seam_fix_mask_blur=number(8, 0, 64, 1),
        seam_fix_padding=number(16, 0, 8192, 8),
        force_uniform_tiles=SWITCH,
        tiled_decode=("BOOLEAN", {"default": False}),
        batch_size=number(1, 1, 16, 1),
    ),
    "HYPIRAdvancedRestoration": stand_in(
        [("IMAGE", "IMAGE"), ("STRING", "STRING")],
        image="IMAGE",
        prompt=("STRING", {"default": "high quality, detailed", "multiline": True}),
        upscale_factor=number(1, 1, 8, 1),
        seed=number(-1, -1, 2**64 - 1, 1),
        model_name=(["HYPIR_sd2"],),
        base_model_path=(["stable-diffusion-2-1-base"],),
        model_t=number(200, 1, 1000, 1),
        coeff_t=number(100, 1, 1000, 1),
        lora_rank=number(256, 1, 512, 1),
        patch_size=number(512, 256, 1024, 64),
        encode_patch_size=number(512, 256, 1024, 64),
        decode_patch_size=number(512, 256, 1024, 64),
        batch_size=number(1, 1, 8, 1),
        unload_model_after=("BOOLEAN", {"default": False}),
    ),
}
