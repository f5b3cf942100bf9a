// The shipped workflows, each as columns of nodes and the links between them.
//
// A node is [type, widgets, more]; `more` may hold a title, a width and a height, and `muted`. A link is
// "from.output -> to.input". What is in a column stands below each other; a number between columns is a gap, and
// null starts a new row of columns. `app` is what ComfyUI's app mode shows: widgets and nodes. `build_workflows.mjs`
// finds the places.

const SD15 = { ckpt_name: "v1-5-pruned-emaonly-fp16.safetensors" };
const SDXL = { ckpt_name: "sd_xl_base_1.0.safetensors" };
const TURBO = { ckpt_name: "sd_xl_turbo_1.0_fp16.safetensors" };
const TILE = { control_net_name: "control_v11f1e_sd15_tile_fp16.safetensors" };
const UPSCALER = { model_name: "RealESRGAN_x4plus.safetensors" };

const REPLACE = "For a picture of yours, choose or upload it in *Sample Picture*, or put **Load Image** in its place.";
// Computed by benchmarks/memory.py.
const memory = (gibibytes) => `**Memory of the graphics card**: ${gibibytes}, computed from the networks' shapes and not measured, besides what the `
  + "quality model and the desktop take. Tiles shrink until they fit into half of what is free.";
const SD_MEMORY = memory("about 5 GiB at 512 x 512 pixels, 7 to 11 GiB at 1024 x 1024");
const SDXL_MEMORY = memory("about 10 GiB at 512 x 512 pixels, 15 to 16 GiB at 1024 x 1024; without a ControlNet 2 GiB less");

const NEW_ROW = { columns: [null] };
const sample = ["DLM_SamplePicture", {}];

function note(title, ...paragraphs) {
  const lines = paragraphs.map((text) => Math.ceil(text.length / 60));
  const height = 90 + lines.reduce((sum, count) => sum + 17 * count + 10, 0);
  return ["MarkdownNote", { text: [`## ${title}`, ...paragraphs].join("\n\n") }, { title: "Read me", height }];
}

// What model files a workflow needs, for its note.
function files(...names) {
  return `**Needs** (ComfyUI offers to download what is missing): ${names.map((name) => `**${name}**`).join(", ")}.`;
}

// Post-Enhance with everything that shows its work, in three columns.
function enhanced(source, { widgets = {}, prefix = "latent_map" } = {}) {
  return {
    columns: [["enhance"], ["compare", "slider"], ["save"]],
    nodes: {
      enhance: ["DLM_PostEnhance", widgets],
      compare: ["DLM_ComparePictures", {}],
      slider: ["ImageCompare", {}, { title: "Slider (needs Nodes 2.0)" }],
      save: ["SaveImage", { filename_prefix: prefix }],
    },
    links: [
      `${source} -> enhance.image`,
      `${source} -> compare.before`,
      "enhance.image -> compare.after",
      `${source} -> slider.image_a`,
      "enhance.image -> slider.image_b",
      "enhance.image -> save.images",
    ],
  };
}

// A checkpoint, an empty prompt and (with `tile`) a tile ControlNet ...
function loaders(checkpoint, tile) {
  return {
    columns: [["checkpoint", "prompt", ...(tile ? ["control"] : [])]],
    nodes: {
      checkpoint: ["CheckpointLoaderSimple", checkpoint],
      prompt: ["CLIPTextEncode", {}, { title: "Prompt (empty is a safe choice)" }],
      ...(tile ? { control: ["ControlNetLoader", tile] } : {}),
    },
    links: ["checkpoint.CLIP -> prompt.clip"],
  };
}

// ... as the backbone of Post-Enhance.
function backbone(tile) {
  return {
    columns: [["backbone"]],
    nodes: { backbone: ["DLM_BackboneFromModel", {}] },
    links: [
      "checkpoint.MODEL -> backbone.model",
      "checkpoint.VAE -> backbone.vae",
      "prompt.CONDITIONING -> backbone.positive",
      ...(tile ? ["control.CONTROL_NET -> backbone.control_net"] : []),
      "backbone.backbone -> enhance.backbone",
    ],
  };
}

// Parts side by side, from left to right.
function joined(...parts) {
  return {
    ...Object.assign({}, ...parts.map(({ app }) => (app ? { app } : {}))),
    columns: parts.flatMap((part) => part.columns ?? []),
    nodes: Object.assign({}, ...parts.map((part) => part.nodes)),
    links: parts.flatMap((part) => part.links ?? []),
  };
}

const alone = (nodes) => ({ columns: [Object.keys(nodes)], nodes });

function priors(...names) {
  return Object.fromEntries(names.map((name) => [`prior_${name}`, ["DLM_IqaPrior", { name }, { title: `IQA Prior: ${name}` }]]));
}

const COMPARED = ["pocket", "niqe", "brisque-cpp"];

export const WORKFLOWS = {
  "Enhance a picture": joined(
    alone({
      note: note("A better picture from one node",
        "Press **Run**. Nothing is downloaded: the small networks inside the pack do the work, in a minute on a CPU.",
        "*Post-Enhance* turns the picture exactly into diffusion noise, moves the noise towards higher quality while the "
        + "picture is held to its input, and turns it back. The result is never worse than the input by its own objective.",
        REPLACE,
        "The networks inside are a preview of the method: they take noise away. For more, see the templates with Stable Diffusion."),
      sample,
    }),
    enhanced("sample.image"),
    { app: { inputs: ["sample.image", "enhance.preset", "enhance.strength"], outputs: ["compare", "save"] } },
  ),
  "Enhance step by step": joined(
    alone({
      note: note("All parts, wired",
        "What the model makes of the picture becomes diffusion noise (*EDICT Invert*), the noise is moved towards higher quality while the fidelity term holds the "
        + "picture to its input (*Optimizer*), and comes back (*Reconstruct*).",
        "Swap the prior or the fidelity term, or change any number, and compare the plots. No download."),
      sample,
    }),
    {
      columns: [["backbone", "invert", "fidelity", "prior"], ["optimise"], ["reconstruct", "compare", "plot"], ["save", "score", "slider"]],
      nodes: {
        backbone: ["DLM_LoadBackbone", {}],
        invert: ["DLM_EdictInvert", { steps: 4, mixing: 0.93, own_mixing: true, start: "estimate" }],
        fidelity: ["DLM_FidelityLoss", {}],
        prior: ["DLM_IqaPrior", {}],
        optimise: ["DLM_LatentMapOptimizer", { momentum: 0.5 }],
        reconstruct: ["DLM_EdictReconstruct", {}, { width: 620 }],
        compare: ["DLM_ComparePictures", {}],
        plot: ["PreviewImage", {}, { title: "Energy, quality and fidelity by iteration", width: 620, height: 400 }],
        slider: ["ImageCompare", {}, { title: "Slider (needs Nodes 2.0)" }],
        save: ["SaveImage", { filename_prefix: "latent_map" }],
        score: ["DLM_IqaScore", {}],
      },
      links: [
        "backbone.backbone -> invert.backbone",
        "sample.image -> invert.image",
        "invert.latents -> optimise.latents",
        "prior.prior -> optimise.prior",
        "fidelity.fidelity -> optimise.fidelity",
        "optimise.latents -> reconstruct.latents",
        "optimise.trace plot -> plot.images",
        "sample.image -> compare.before",
        "reconstruct.image -> compare.after",
        "sample.image -> slider.image_a",
        "reconstruct.image -> slider.image_b",
        "reconstruct.image -> save.images",
        "reconstruct.image -> score.image",
        "prior.prior -> score.prior",
      ],
    },
  ),
  "Compare priors": joined(
    alone({
      note: note("Which quality model makes the better picture?",
        "One picture, enhanced with three quality models (priors). Each result is scored by all three: a model likes best what it made itself "
        + "(the mark \\*), so look at what the *others* say of it, and at the framed part, where the results differ most.",
        "Choose other models in *IQA Prior*, or connect another restorer's result of the picture to **image_a**. No download.",
        REPLACE),
      sample,
    }),
    alone(priors(...COMPARED)),
    {
      columns: [["compare"], ["save"]],
      nodes: {
        compare: ["DLM_ComparePriors", {}],
        save: ["SaveImage", { filename_prefix: "latent_map" }, { title: "Save the results" }],
      },
      links: [
        "sample.image -> compare.image",
        ...COMPARED.map((name, i) => `prior_${name}.prior -> compare.prior_${"abc"[i]}`),
        "compare.results -> save.images",
      ],
    },
  ),
  "Score pictures": joined(
    alone({
      note: note("Rate pictures, change nothing",
        "Scores of the picture by three quality models, by their published rules, and a map of where the quality is: red is bad, green is good.",
        REPLACE,
        "A batch is scored picture by picture."),
      sample,
    }),
    alone(priors(...COMPARED)),
    {
      columns: [["score"], ["map"]],
      nodes: {
        score: ["DLM_IqaScore", {}],
        map: ["PreviewImage", {}, { title: "Where the quality is", width: 460, height: 460 }],
      },
      links: [
        "sample.image -> score.image",
        ...COMPARED.map((judge, i) => `prior_${judge}.prior -> score.${["prior", "prior_b", "prior_c"][i]}`),
        "score.heat_map -> map.images",
      ],
    },
  ),
  "Edit by exact inversion": joined(
    alone({
      note: note("Another prompt for the same noise",
        "The picture is inverted exactly with a prompt that says what is in it, and the same noise is reconstructed with another prompt: EDICT's own "
        + "use. What the prompts have in common stays. Without the second prompt the very picture would come back.",
        "Change **strength** in *EDICT Invert* (how far into the noise) and **cfg** of both backbones for more or less.",
        files(SD15.ckpt_name),
        "2.1 GB of weights.", SD_MEMORY, REPLACE),
      sample,
    }),
    {
      columns: [["checkpoint", "was", "becomes"], ["backbone", "other"], ["invert", "edited"], ["compare", "save"]],
      nodes: {
        checkpoint: ["CheckpointLoaderSimple", SD15],
        was: ["CLIPTextEncode", { text: "a pink hibiscus before green shutters" }, { title: "What is in the picture" }],
        becomes: ["CLIPTextEncode", { text: "a yellow sunflower before green shutters" }, { title: "What it shall be" }],
        backbone: ["DLM_BackboneFromModel", {}, { title: "Backbone as it was" }],
        other: ["DLM_BackboneFromModel", {}, { title: "Backbone as it shall be" }],
        invert: ["DLM_EdictInvert", { steps: 50, strength: 0.8 }],
        edited: ["DLM_EdictReconstruct", {}],
        compare: ["DLM_ComparePictures", {}],
        save: ["SaveImage", { filename_prefix: "edited" }],
      },
      links: [
        "checkpoint.CLIP -> was.clip",
        "checkpoint.CLIP -> becomes.clip",
        ...[["was", "backbone"], ["becomes", "other"]].flatMap(([prompt, made]) => [
          `checkpoint.MODEL -> ${made}.model`,
          `checkpoint.VAE -> ${made}.vae`,
          `${prompt}.CONDITIONING -> ${made}.positive`,
        ]),
        "backbone.backbone -> invert.backbone",
        "sample.image -> invert.image",
        "invert.latents -> edited.latents",
        "other.backbone -> edited.backbone",
        "sample.image -> compare.before",
        "edited.image -> compare.after",
        "edited.image -> save.images",
      ],
    },
  ),
  "Guard faces and text": joined(
    alone({
      note: note("Be careful with faces and text",
        "ComfyUI's own detectors find faces (MediaPipe) and lettering (SAM 3); changes there count more, each "
        + "by the weight of its *Region Weight*: 10 is careful, 100 lets next to nothing change. "
        + "To leave a place as it is, bit for bit, give *Post-Enhance* an inverted mask as **mask** instead.",
        files("mediapipe_face_fp32.safetensors", "sam3.1_multiplex_fp16.safetensors"),
        "Masks of any other detector, or painted by hand (*Open in MaskEditor* on Load Image), do as well. The sample has neither face nor text: "
        + "load a picture that has."),
      sample,
    }),
    {
      columns: [
        ["face_model", "faces", "face_mask", "face_weight"],
        ["words_model", "words", "word_mask", "word_weight"],
        ["both", "look"],
      ],
      nodes: {
        face_model: ["LoadMediaPipeFaceLandmarker", { model_name: "mediapipe_face_fp32.safetensors" }],
        faces: ["MediaPipeFaceLandmarker", {}],
        face_mask: ["MediaPipeFaceMask", {}],
        words_model: ["CheckpointLoaderSimple", { ckpt_name: "sam3.1_multiplex_fp16.safetensors" }],
        words: ["CLIPTextEncode", { text: "text, lettering, sign" }, { title: "What to find" }],
        word_mask: ["SAM3_Detect", {}],
        face_weight: ["DLM_RegionWeight", { weight: 30 }, { title: "Region Weight: faces" }],
        word_weight: ["DLM_RegionWeight", { weight: 30 }, { title: "Region Weight: text" }],
        both: ["MaskComposite", { operation: "or" }, { title: "Both masks" }],
        look: ["MaskPreview", {}, { title: "What is guarded", height: 300 }],
      },
      links: [
        "face_model.FACE_DETECTION_MODEL -> faces.face_detection_model",
        "sample.image -> faces.image",
        "faces.face_landmarks -> face_mask.face_landmarks",
        "words_model.MODEL -> word_mask.model",
        "words_model.CLIP -> words.clip",
        "words.CONDITIONING -> word_mask.conditioning",
        "sample.image -> word_mask.image",
        "face_mask.MASK -> face_weight.mask",
        "word_mask.masks -> word_weight.mask",
        "face_weight.weighted -> word_weight.regions",
        "face_mask.MASK -> both.destination",
        "word_mask.masks -> both.source",
        "both.MASK -> look.mask",
      ],
    },
    NEW_ROW,
    enhanced("sample.image"),
    { links: ["word_weight.weighted -> enhance.regions"] },
  ),
  "With SD 1.5 and a tile ControlNet": joined(
    alone({
      note: note("Stable Diffusion 1.5 as the model",
        "The tile ControlNet shows the model the picture being enhanced, so that it stays the same picture. Any other SD 1.5 checkpoint will do.",
        files(SD15.ckpt_name, TILE.control_net_name),
        "2.1 and 0.7 GB of weights.", SD_MEMORY, REPLACE),
      sample,
    }),
    loaders(SD15, TILE),
    backbone(TILE),
    enhanced("sample.image"),
  ),
  "With SDXL": joined(
    alone({
      note: note("SDXL as the model",
        "SDXL wants pictures of about a megapixel, so the sample is enlarged first. Connect a tile ControlNet for SDXL to *control_net* if you have one.",
        files(SDXL.ckpt_name),
        "6.9 GB of weights.", SDXL_MEMORY, REPLACE),
      sample,
      larger: ["ImageScaleToTotalPixels", { upscale_method: "lanczos", megapixels: 1 }],
    }),
    loaders(SDXL),
    backbone(),
    enhanced("larger.IMAGE"),
    { links: ["sample.image -> larger.image"] },
  ),
  "With SDXL Turbo": joined(
    alone({
      note: note("A checkpoint distilled to few steps",
        "The preset *turbo* goes half of four steps into the noise: four network calls a way, where *fast* takes eight. The map is exact in so few steps, too.",
        "SD-Turbo and Hyper checkpoints do as well: choose them in *Load Checkpoint*. LCM needs **Load Backbone** (a diffusers folder, cfg 8.5) in place of *Backbone from Model*.",
        "Turbo models were made for cfg 1 and pictures of 512 pixels, so the sample is enlarged to them first.",
        files(TURBO.ckpt_name),
        "6.9 GB of weights; mind their licence (Stability AI: no commercial use). **Not tried with these weights yet**, only with small random networks of their layout: "
        + "expect to choose learning rate and lambda anew.", SDXL_MEMORY, REPLACE),
      sample,
      larger: ["ImageScaleToTotalPixels", { upscale_method: "lanczos", megapixels: 0.25 }],
    }),
    loaders(TURBO),
    backbone(),
    enhanced("larger.IMAGE", { widgets: { preset: "turbo" } }),
    { links: ["sample.image -> larger.image"] },
  ),
  "With SeeSR": joined(
    alone({
      note: note("SeeSR as the model",
        "The kind of backbone the paper used: Stable Diffusion 2 with a ControlNet and image tokens.",
        "**Needs** the folders *models/seesr* and *models/diffusers/stable-diffusion-2-base*; docs/seesr.md says how to get and lay out the files "
        + "(about 8 GB, half that in fp16). Then choose them in *Load Backbone*, under name and base.", SD_MEMORY, REPLACE),
      sample,
      backbone: ["DLM_LoadBackbone", { name: "seesr: .", base: "diffusers: stable-diffusion-2-base" }],
    }),
    enhanced("sample.image"),
    { links: ["backbone.backbone -> enhance.backbone"] },
  ),
  "After an upscale model": joined(
    alone({
      note: note("Behind an upscale model",
        "An upscale model makes the picture four times as large and half of that is kept; *Post-Enhance* puts back texture where it looks like wax.",
        files(UPSCALER.model_name, SD15.ckpt_name, TILE.control_net_name),
        "0.07, 2.1 and 0.7 GB of weights.", SD_MEMORY, REPLACE),
      sample,
    }),
    loaders(SD15, TILE),
    {
      columns: [["upscaler", "upscaled", "halved"]],
      nodes: {
        upscaler: ["UpscaleModelLoader", UPSCALER],
        upscaled: ["ImageUpscaleWithModel", {}],
        halved: ["ImageScaleBy", { upscale_method: "area", scale_by: 0.5 }],
      },
      links: [
        "upscaler.UPSCALE_MODEL -> upscaled.upscale_model",
        "sample.image -> upscaled.image",
        "upscaled.IMAGE -> halved.image",
      ],
    },
    NEW_ROW,
    backbone(TILE),
    enhanced("halved.IMAGE"),
  ),
  "After SeedVR2": joined(
    alone({
      note: note("Behind SeedVR2",
        "SeedVR2 (in ComfyUI itself) restores and enlarges the picture in one step, *Post-Enhance* refines what comes out of it.",
        files("seedvr2_3b_int8_convrot.safetensors", "seedvr2_ema_vae_fp16.safetensors"),
        "*Post-Enhance* uses the small model inside the pack here; connect a **Backbone from Model** for Stable Diffusion.", REPLACE),
      sample,
    }),
    {
      columns: [["larger", "prepare", "vae", "encode"], ["model", "conditions", "sampler"], ["decode", "restored"]],
      nodes: {
        larger: ["ResizeImageMaskNode", { resize_type: "scale by multiplier", "resize_type.multiplier": 2, scale_method: "lanczos" }],
        prepare: ["SeedVR2Preprocess", {}],
        vae: ["VAELoader", { vae_name: "seedvr2_ema_vae_fp16.safetensors" }],
        encode: ["VAEEncodeTiled", { tile_size: 512, overlap: 128, temporal_size: 4096, temporal_overlap: 8 }],
        model: ["UNETLoader", { unet_name: "seedvr2_3b_int8_convrot.safetensors" }],
        conditions: ["SeedVR2Conditioning", {}],
        sampler: ["KSampler", { seed: 1, control_after_generate: "fixed", steps: 1, cfg: 1, sampler_name: "euler", scheduler: "simple", denoise: 1 }],
        decode: ["VAEDecodeTiled", { tile_size: 512, overlap: 128, temporal_size: 4096, temporal_overlap: 8 }],
        restored: ["SeedVR2PostProcessing", { color_correction_method: "lab" }],
      },
      links: [
        "sample.image -> larger.input",
        "larger.resized -> prepare.resized_images",
        "prepare.images -> encode.pixels",
        "vae.VAE -> encode.vae",
        "model.MODEL -> conditions.model",
        "encode.LATENT -> conditions.vae_conditioning",
        "model.MODEL -> sampler.model",
        "conditions.positive -> sampler.positive",
        "conditions.negative -> sampler.negative",
        "encode.LATENT -> sampler.latent_image",
        "sampler.LATENT -> decode.samples",
        "vae.VAE -> decode.vae",
        "decode.IMAGE -> restored.images",
        "larger.resized -> restored.original_resized_images",
      ],
    },
    NEW_ROW,
    enhanced("restored.images"),
  ),
  "After SUPIR": joined(
    alone({
      note: note("Behind SUPIR",
        "SUPIR (in ComfyUI itself) restores the picture, *Post-Enhance* refines what comes out of it, both with one SDXL checkpoint.",
        files(SDXL.ckpt_name, "SUPIR-v0Q_fp16.safetensors"),
        "6.9 and 2.7 GB of weights; mind SUPIR's licence: no commercial use.", SDXL_MEMORY, REPLACE),
      sample,
      larger: ["ImageScaleToTotalPixels", { upscale_method: "lanczos", megapixels: 1 }],
    }),
    loaders(SDXL),
    {
      columns: [["positive", "negative", "patch"], ["supir", "encode", "sampler_name", "sigmas"], ["sampler", "decode", "colours"]],
      nodes: {
        positive: ["CLIPTextEncodeSDXL", { text_g: "a sharp, detailed photograph", text_l: "a sharp, detailed photograph" }, { title: "What it should be" }],
        negative: ["CLIPTextEncodeSDXL", { text_g: "blurry, noisy, painting, low quality", text_l: "blurry, noisy, painting, low quality" }, { title: "What it should not be" }],
        patch: ["ModelPatchLoader", { name: "SUPIR-v0Q_fp16.safetensors" }],
        supir: ["SUPIRApply", { strength_start: 1, strength_end: 0.9, restore_cfg: 4, restore_cfg_s_tmin: 0.05 }],
        encode: ["VAEEncode", {}],
        sampler_name: ["KSamplerSelect", { sampler_name: "dpmpp_2m_sde" }],
        sigmas: ["BasicScheduler", { scheduler: "sgm_uniform", steps: 10, denoise: 1 }],
        sampler: ["SamplerCustom", { noise_seed: 1, control_after_generate: "fixed", cfg: 1.5 }],
        decode: ["VAEDecode", {}],
        colours: ["ColorTransfer", { method: "mkl_lab" }],
      },
      links: [
        "sample.image -> larger.image",
        "checkpoint.CLIP -> positive.clip",
        "checkpoint.CLIP -> negative.clip",
        "checkpoint.MODEL -> supir.model",
        "patch.MODEL_PATCH -> supir.model_patch",
        "checkpoint.VAE -> supir.vae",
        "larger.IMAGE -> supir.image",
        "larger.IMAGE -> encode.pixels",
        "checkpoint.VAE -> encode.vae",
        "supir.MODEL -> sigmas.model",
        "supir.MODEL -> sampler.model",
        "positive.CONDITIONING -> sampler.positive",
        "negative.CONDITIONING -> sampler.negative",
        "sampler_name.SAMPLER -> sampler.sampler",
        "sigmas.SIGMAS -> sampler.sigmas",
        "encode.LATENT -> sampler.latent_image",
        "sampler.output -> decode.samples",
        "checkpoint.VAE -> decode.vae",
        "decode.IMAGE -> colours.image_target",
        "larger.IMAGE -> colours.image_ref",
      ],
    },
    NEW_ROW,
    backbone(),
    enhanced("colours.image"),
  ),
  "After SUPIR (ComfyUI-SUPIR pack)": joined(
    alone({
      note: note("Behind SUPIR, by the pack ComfyUI-SUPIR",
        "For those who have that pack; *After SUPIR* does the same with ComfyUI's own nodes. Mind SUPIR's licence: no commercial use.",
        files(SDXL.ckpt_name, "SUPIR-v0Q_fp16.safetensors"), SDXL_MEMORY, REPLACE),
      sample,
    }),
    loaders(SDXL),
    {
      columns: [["supir", "encode", "conditions"], ["sample_supir", "decode"]],
      nodes: {
        supir: ["SUPIR_model_loader_v2", { supir_model: "SUPIR-v0Q_fp16.safetensors" }],
        encode: ["SUPIR_encode", {}],
        conditions: ["SUPIR_conditioner", {}],
        sample_supir: ["SUPIR_sample", { control_after_generate: "fixed" }],
        decode: ["SUPIR_decode", {}],
      },
      links: [
        "checkpoint.MODEL -> supir.model",
        "checkpoint.CLIP -> supir.clip",
        "checkpoint.VAE -> supir.vae",
        "supir.SUPIR_VAE -> encode.SUPIR_VAE",
        "sample.image -> encode.image",
        "supir.SUPIR_model -> conditions.SUPIR_model",
        "encode.latent -> conditions.latents",
        "supir.SUPIR_model -> sample_supir.SUPIR_model",
        "encode.latent -> sample_supir.latents",
        "conditions.positive -> sample_supir.positive",
        "conditions.negative -> sample_supir.negative",
        "sample_supir.latent -> decode.latents",
        "supir.SUPIR_VAE -> decode.SUPIR_VAE",
      ],
    },
    NEW_ROW,
    backbone(),
    enhanced("decode.image"),
  ),
  "After Ultimate SD Upscale": joined(
    alone({
      note: note("Behind Ultimate SD Upscale",
        "The pack *Ultimate SD Upscale* enlarges the picture tile by tile, *Post-Enhance* refines it with the same checkpoint and takes away what "
        + "differs from tile to tile.",
        files(SD15.ckpt_name, TILE.control_net_name, UPSCALER.model_name), SD_MEMORY, REPLACE),
      sample,
    }),
    loaders(SD15, TILE),
    {
      columns: [["negative", "upscaler"], ["larger"]],
      nodes: {
        negative: ["CLIPTextEncode", { text: "blurry, low quality" }, { title: "Negative prompt" }],
        upscaler: ["UpscaleModelLoader", UPSCALER],
        larger: ["UltimateSDUpscale", { control_after_generate: "fixed" }],
      },
      links: [
        "checkpoint.CLIP -> negative.clip",
        "sample.image -> larger.image",
        "checkpoint.MODEL -> larger.model",
        "prompt.CONDITIONING -> larger.positive",
        "negative.CONDITIONING -> larger.negative",
        "checkpoint.VAE -> larger.vae",
        "upscaler.UPSCALE_MODEL -> larger.upscale_model",
      ],
    },
    NEW_ROW,
    backbone(TILE),
    enhanced("larger.IMAGE"),
  ),
  "After HYPIR": joined(
    alone({
      note: note("Behind HYPIR",
        "HYPIR (pack *Comfyui-HYPIR*) restores the picture with one call of Stable Diffusion 2.1, *Post-Enhance* refines it.",
        "**Needs** *models/HYPIR/HYPIR_sd2.pth* (huggingface.co/lxq007/HYPIR) and Stable Diffusion 2.1 base, which that pack fetches itself.",
        "*Post-Enhance* uses the small model inside the pack here; connect a **Backbone from Model** for Stable Diffusion.", REPLACE),
      sample,
    }),
    {
      columns: [["restored"]],
      nodes: { restored: ["HYPIRAdvancedRestoration", { control_after_generate: "fixed" }] },
      links: ["sample.image -> restored.image"],
    },
    enhanced("restored.IMAGE"),
  ),
};

