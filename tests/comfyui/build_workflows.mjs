// Build the shipped workflows in ComfyUI's real frontend, so that their format is the frontend's own.
//
//     node build_workflows.mjs URL        (a server with this pack)
//
// Writes workflows/NAME.json (UI format) and tests/comfyui/NAME.api.json (API format).
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { withFrontend } from "./canvas.mjs";

const SAMPLE = { image: "latent_map_sample.png" };
const HERE = dirname(fileURLToPath(import.meta.url));
const VIEW = [1600, 1000]; // pixels
const MARGIN = [[80, 30], [160, 20]]; // the frontend's side bar; its tabs and a node's title

const SD15 = { ckpt_name: "v1-5-pruned-emaonly-fp16.safetensors" };
const SDXL = { ckpt_name: "sd_xl_base_1.0.safetensors" };
const TILE = { control_net_name: "control_v11f1e_sd15_tile.pth" };

// The same end for every picture: [nodes, links] of Post-Enhance and what shows its work.
function ending(x, source, output = "IMAGE") {
  const nodes = {
    enhance: ["DLM_PostEnhance", [x, 0], [380, 640], {}],
    save: ["SaveImage", [x + 460, 0], [440, 360], { filename_prefix: "post_enhance" }],
    summary: ["PreviewAny", [x + 460, 430], [440, 150], {}],
    plot: ["PreviewImage", [x + 460, 650], [440, 340], {}],
  };
  const links = [
    [source, output, "enhance", "image"],
    ["backbone", "backbone", "enhance", "backbone"],
    ["enhance", "image", "save", "images"],
    ["enhance", "summary", "summary", "source"],
    ["enhance", "trace plot", "plot", "images"],
  ];
  return { nodes, links };
}

// A checkpoint, an empty prompt and (with `tile`) a tile ControlNet as the backbone.
function native(checkpoint, tile) {
  const nodes = {
    checkpoint: ["CheckpointLoaderSimple", [0, 230], [320, 100], checkpoint],
    prompt: ["CLIPTextEncode", [0, 390], [320, 90], {}],
    backbone: ["DLM_BackboneFromModel", [400, 0], [320, 190], {}],
  };
  const links = [
    ["checkpoint", "CLIP", "prompt", "clip"],
    ["checkpoint", "MODEL", "backbone", "model"],
    ["checkpoint", "VAE", "backbone", "vae"],
    ["prompt", "CONDITIONING", "backbone", "positive"],
  ];
  if (tile) {
    nodes.control = ["ControlNetLoader", [0, 540], [320, 60], tile];
    links.push(["control", "CONTROL_NET", "backbone", "control_net"]);
  }
  return { nodes, links };
}

function joined(...parts) {
  const nodes = Object.assign({}, ...parts.map((part) => part.nodes));
  return { nodes, links: parts.flatMap((part) => part.links ?? []) };
}

const note = (text) => ({ nodes: { note: ["Note", [0, 0], [320, 170], { text }] } });
const NEEDED = "Needs, from ComfyUI's own model folders: ";

// node: [type, [x, y], [width, height], widgets]; link: [from, output, to, input]
const WORKFLOWS = {
  post_enhance_pocket: {
    nodes: {
      note: ["Note", [0, 0], [320, 130], {
        text: "Refines the picture in one node, with the small networks inside the pack: no download. "
          + "The image is never worse than the input by the node's own objective; the plot shows how it got there.",
      }],
      load: ["LoadImage", [0, 200], [320, 440], SAMPLE],
      enhance: ["DLM_PostEnhance", [400, 0], [380, 640], {}],
      save: ["SaveImage", [860, 0], [440, 360], { filename_prefix: "post_enhance" }],
      summary: ["PreviewAny", [860, 430], [440, 150], {}],
      plot: ["PreviewImage", [860, 650], [440, 340], {}],
    },
    links: [
      ["load", "IMAGE", "enhance", "image"],
      ["enhance", "image", "save", "images"],
      ["enhance", "summary", "summary", "source"],
      ["enhance", "trace plot", "plot", "images"],
    ],
  },
  optimizer_pocket: {
    nodes: {
      note: ["Note", [0, 0], [320, 130], {
        text: "Turns the picture into diffusion noise (EDICT), moves the noise towards higher quality while the "
          + "fidelity term holds the picture to its input, and reconstructs it. "
          + "Swap the prior or the fidelity term, or change any number, and compare the plots.",
      }],
      backbone: ["DLM_LoadBackbone", [0, 200], [320, 230], {}],
      load: ["LoadImage", [0, 500], [320, 400], SAMPLE],
      invert: ["DLM_EdictInvert", [400, 0], [340, 230], { steps: 6, mixing: 0.93, own_mixing: true }],
      fidelity: ["DLM_FidelityLoss", [400, 330], [340, 130], {}],
      prior: ["DLM_IqaPrior", [400, 560], [340, 110], {}],
      optimise: ["DLM_LatentMapOptimizer", [820, 0], [360, 900], { momentum: 0.5 }],
      reconstruct: ["DLM_EdictReconstruct", [1260, 0], [400, 50], {}],
      plot: ["PreviewImage", [1260, 140], [400, 360], {}],
      save: ["SaveImage", [1740, 0], [360, 440], { filename_prefix: "latent_map" }],
      score: ["DLM_IqaScore", [1740, 520], [360, 110], {}],
      scores: ["PreviewAny", [1740, 710], [360, 190], {}],
    },
    links: [
      ["backbone", "backbone", "invert", "backbone"],
      ["load", "IMAGE", "invert", "image"],
      ["invert", "latents", "optimise", "latents"],
      ["prior", "prior", "optimise", "prior"],
      ["fidelity", "fidelity", "optimise", "fidelity"],
      ["optimise", "latents", "reconstruct", "latents"],
      ["optimise", "trace plot", "plot", "images"],
      ["reconstruct", "image", "save", "images"],
      ["reconstruct", "image", "score", "image"],
      ["prior", "prior", "score", "prior"],
      ["score", "scores", "scores", "source"],
    ],
  },
  post_enhance_sd15_tile: joined(
    note("Refines the picture with Stable Diffusion 1.5. The tile ControlNet shows the model the picture being enhanced. "
      + `${NEEDED}checkpoints/${SD15.ckpt_name} and controlnet/${TILE.control_net_name}; any other SD 1.5 checkpoint will do.`),
    native(SD15, TILE),
    { nodes: { load: ["LoadImage", [0, 660], [320, 330], SAMPLE] } },
    ending(800, "load"),
  ),
  post_enhance_sdxl: joined(
    note("Refines the picture with SDXL, which wants pictures of about a megapixel. "
      + `${NEEDED}checkpoints/${SDXL.ckpt_name}. Connect a tile ControlNet for SDXL to control_net if you have one.`),
    native(SDXL),
    { nodes: { load: ["LoadImage", [0, 560], [320, 430], SAMPLE] } },
    ending(800, "load"),
  ),
  post_enhance_after_upscale_model: joined(
    note("An upscale model first, then Post-Enhance on its output at half size (twice the original). "
      + `${NEEDED}upscale_models/RealESRGAN_x4plus.pth, checkpoints/${SD15.ckpt_name}, controlnet/${TILE.control_net_name}.`),
    native(SD15, TILE),
    {
      nodes: {
        load: ["LoadImage", [0, 660], [320, 330], SAMPLE],
        upscaler: ["UpscaleModelLoader", [400, 660], [320, 60], { model_name: "RealESRGAN_x4plus.pth" }],
        upscaled: ["ImageUpscaleWithModel", [400, 780], [320, 50], {}],
        halved: ["ImageScaleBy", [400, 890], [320, 90], { upscale_method: "area", scale_by: 0.5 }],
      },
      links: [
        ["upscaler", "UPSCALE_MODEL", "upscaled", "upscale_model"],
        ["load", "IMAGE", "upscaled", "image"],
        ["upscaled", "IMAGE", "halved", "image"],
      ],
    },
    ending(800, "halved"),
  ),
  seesr_backbone: joined(
    note("Refines the picture with SeeSR, the kind of backbone the paper used: Stable Diffusion 2 with a ControlNet and image tokens. "
      + `${NEEDED}seesr/ and diffusers/stable-diffusion-2-base (docs/seesr.md says how to get and lay out the files).`),
    {
      nodes: {
        backbone: ["DLM_LoadBackbone", [0, 230], [320, 260],
          { name: "seesr: .", base: "diffusers: stable-diffusion-2-base" }],
        load: ["LoadImage", [0, 560], [320, 430], SAMPLE],
      },
    },
    ending(400, "load"),
  ),
  post_enhance_after_supir: joined(
    note("SUPIR restores the picture, Post-Enhance refines what comes out of it, both with one SDXL checkpoint. "
      + `${NEEDED}checkpoints/${SDXL.ckpt_name} and checkpoints/SUPIR-v0Q.ckpt, and the node pack ComfyUI-SUPIR `
      + "(mind its licence: no commercial use)."),
    native(SDXL),
    {
      nodes: {
        load: ["LoadImage", [0, 560], [320, 430], SAMPLE],
        supir: ["SUPIR_model_loader_v2", [400, 270], [320, 190], { supir_model: "SUPIR-v0Q.ckpt" }],
        encode: ["SUPIR_encode", [400, 530], [320, 150], {}],
        conditions: ["SUPIR_conditioner", [400, 750], [320, 240], {}],
        sample: ["SUPIR_sample", [800, 0], [320, 470], {}],
        decode: ["SUPIR_decode", [800, 540], [320, 110], {}],
      },
      links: [
        ["checkpoint", "MODEL", "supir", "model"],
        ["checkpoint", "CLIP", "supir", "clip"],
        ["checkpoint", "VAE", "supir", "vae"],
        ["supir", "SUPIR_VAE", "encode", "SUPIR_VAE"],
        ["load", "IMAGE", "encode", "image"],
        ["supir", "SUPIR_model", "conditions", "SUPIR_model"],
        ["encode", "latent", "conditions", "latents"],
        ["supir", "SUPIR_model", "sample", "SUPIR_model"],
        ["encode", "latent", "sample", "latents"],
        ["conditions", "positive", "sample", "positive"],
        ["conditions", "negative", "sample", "negative"],
        ["sample", "latent", "decode", "latents"],
        ["supir", "SUPIR_VAE", "decode", "SUPIR_VAE"],
      ],
    },
    ending(1200, "decode", "image"),
  ),
};

// Runs in the page.
async function build({ nodes, links }) {
  app.graph.clear();
  const made = {};
  for (const [name, [type, pos, size, widgets]] of Object.entries(nodes)) {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    node.pos = pos;
    const least = node.computeSize(); // the frontend makes no node smaller, whatever the file says
    node.setSize([0, 1].map((i) => Math.max(size[i], least[i])));
    // the frontend gives a new node the values that one of the same number had in the last graph
    const input = node.constructor.nodeData?.input ?? {};
    for (const [key, spec] of Object.entries({ ...input.required, ...input.optional })) {
      const widget = node.widgets?.find((item) => item.name === key);
      if (widget && spec[1]?.default !== undefined) widget.value = spec[1].default;
    }
    for (const [key, value] of Object.entries(widgets)) {
      const widget = node.widgets.find((item) => item.name === key || type === "Note");
      widget.options?.values?.push?.(value); // the files need not be in this server's folders
      widget.value = value;
    }
    made[name] = node;
  }
  const slot = (slots, name) => {
    const found = slots.findIndex((item) => item.name === name);
    if (found < 0) throw new Error(`no slot ${name} in ${slots.map((item) => item.name)}`);
    return found;
  };
  for (const [from, output, to, input] of links) {
    const [source, target] = [made[from], made[to]];
    source.connect(slot(source.outputs, output), target, slot(target.inputs, input));
  }
  const workflow = app.graph.serialize();
  return { workflow, prompt: (await app.graphToPrompt()).output };
}

// What depends on the builder's language, and a view that shows the whole graph on a small screen.
function tidy(workflow) {
  for (const slot of workflow.nodes.flatMap((node) => [...node.inputs, ...node.outputs])) {
    delete slot.localized_name;
  }
  const extent = [0, 1].map((i) => Math.max(...workflow.nodes.map((n) => n.pos[i] + n.size[i])));
  const fits = [0, 1].map((i) => (VIEW[i] - MARGIN[i][0] - MARGIN[i][1]) / extent[i]);
  const scale = Math.floor(100 * Math.min(1, ...fits)) / 100;
  workflow.extra = { ds: { scale, offset: MARGIN.map(([start]) => start / scale) } };
  return workflow;
}

const asText = (value) => JSON.stringify(value, null, 2) + "\n";

await withFrontend(process.argv[2], async (page) => {
  for (const [name, recipe] of Object.entries(WORKFLOWS)) {
    const { workflow, prompt } = await page.evaluate(build, recipe);
    await writeFile(join(HERE, "..", "..", "workflows", `${name}.json`), asText(tidy(workflow)));
    await writeFile(join(HERE, `${name}.api.json`), asText(prompt));
  }
});
