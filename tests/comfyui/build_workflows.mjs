// Build the shipped workflows in ComfyUI's real frontend, so that their format is the frontend's own.
//
//     node build_workflows.mjs URL [NAME ...]       (a server with this pack and restorer_sockets.py)
//
// Writes workflows/NAME.json (UI format) and tests/comfyui/api/NAME.json (API format) of workflows.mjs.
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { withFrontend } from "./canvas.mjs";
import { WORKFLOWS } from "./workflows.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, "..", "..");
const VIEW = [1600, 1000]; // pixels
const MARGIN = [[80, 30], [160, 20]]; // the frontend's side bar; its tabs and a node's title
const COLUMN_GAP = 80;
const ROW_GAP = 90; // a title, and what nodes grow by in Nodes 2.0
const WIDTH = 360;

// Width and height at least; pictures need room.
const SIZES = {
  MarkdownNote: [420, 0],
  DLM_LoadBackbone: [360, 360],
  DLM_EdictInvert: [360, 340],
  DLM_SamplePicture: [420, 440],
  DLM_PostEnhance: [400, 900],
  DLM_LatentMapOptimizer: [400, 1000],
  DLM_ComparePictures: [620, 470],
  DLM_ComparePriors: [1000, 880],
  DLM_IqaPrior: [360, 250],
  DLM_FidelityLoss: [360, 280],
  DLM_IqaScore: [460, 320],
  ImageCompare: [460, 480],
  SaveImage: [460, 480],
};

// Where what is missing can be had: ComfyUI offers to download it.
const FACE = "https://huggingface.co";
const MODELS = {
  "v1-5-pruned-emaonly-fp16.safetensors": ["checkpoints", `${FACE}/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/v1-5-pruned-emaonly-fp16.safetensors`],
  "sd_xl_base_1.0.safetensors": ["checkpoints", `${FACE}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors`],
  "sd_xl_turbo_1.0_fp16.safetensors": ["checkpoints", `${FACE}/stabilityai/sdxl-turbo/resolve/main/sd_xl_turbo_1.0_fp16.safetensors`],
  "sam3.1_multiplex_fp16.safetensors": ["checkpoints", `${FACE}/Comfy-Org/sam3.1/resolve/main/checkpoints/sam3.1_multiplex_fp16.safetensors`],
  "control_v11f1e_sd15_tile_fp16.safetensors": ["controlnet", `${FACE}/comfyanonymous/ControlNet-v1-1_fp16_safetensors/resolve/main/control_v11f1e_sd15_tile_fp16.safetensors`],
  "RealESRGAN_x4plus.safetensors": ["upscale_models", `${FACE}/Comfy-Org/Real-ESRGAN_repackaged/resolve/main/RealESRGAN_x4plus.safetensors`],
  "seedvr2_3b_int8_convrot.safetensors": ["diffusion_models", `${FACE}/Comfy-Org/SeedVR2/resolve/main/diffusion_models/seedvr2_3b_int8_convrot.safetensors`],
  "seedvr2_ema_vae_fp16.safetensors": ["vae", `${FACE}/Comfy-Org/SeedVR2/resolve/main/vae/seedvr2_ema_vae_fp16.safetensors`],
  "SUPIR-v0Q_fp16.safetensors": ["model_patches", `${FACE}/Kijai/SUPIR_pruned/resolve/main/SUPIR-v0Q_fp16.safetensors`],
  "mediapipe_face_fp32.safetensors": ["detection", `${FACE}/Comfy-Org/mediapipe/resolve/main/detection/mediapipe_face_fp32.safetensors`],
};
const ELSEWHERE = { SUPIR_model_loader_v2: "checkpoints" }; // where a pack looks for a file that ComfyUI keeps elsewhere

// The packs that nodes are of: ComfyUI offers to install those that are missing.
const PACKS = [
  [/^SUPIR_/, { cnr_id: "comfyui-supir" }],
  [/^UltimateSDUpscale/, { cnr_id: "comfyui_ultimatesdupscale" }],
  [/^HYPIR/, { aux_id: "11dogzi/Comfyui-HYPIR" }],
];

// Runs in the page.
async function build({ columns, nodes, links, app: shown }, { sizes, width, gaps }) {
  app.graph.clear();
  const made = {};
  for (const [name, [type, widgets, more = {}]] of Object.entries(nodes)) {
    const node = LiteGraph.createNode(type);
    if (!node) throw new Error(`no node ${type}`);
    app.graph.add(node);
    if (more.title) node.title = more.title;
    // the frontend gives a new node the values that one of the same number had in the last graph
    const input = node.constructor.nodeData?.input ?? {};
    for (const [key, spec] of Object.entries({ ...input.required, ...input.optional })) {
      const widget = node.widgets?.find((item) => item.name === key);
      const first = Array.isArray(spec[0]) ? spec[0][0] : spec[1]?.options?.[0];
      const ordinary = spec[1]?.default ?? (spec[0] === "STRING" ? "" : typeof first === "string" ? first : undefined);
      if (widget && ordinary !== undefined && spec[0] !== "IMAGEUPLOAD") widget.value = ordinary;
    }
    for (const [key, value] of Object.entries(widgets)) {
      const widget = node.widgets.find((item) => item.name === key || type === "MarkdownNote");
      if (!widget) throw new Error(`${type} has no widget ${key}, only ${node.widgets.map((w) => w.name)}`);
      widget.options?.values?.push?.(value); // the files need not be in this server's folders
      widget.value = value;
      widget.callback?.(value);
    }
    const least = node.computeSize(); // the frontend makes no node smaller, whatever the file says
    const [wide, high] = sizes[type] ?? [width, 0];
    node.setSize([Math.max(more.width ?? wide, least[0]), Math.max(more.height ?? high, least[1])]);
    made[name] = node;
  }
  let [x, top, bottom] = [0, 0, 0];
  for (const column of columns) {
    if (column === null) [x, top] = [0, bottom + gaps[1]];
    if (!Array.isArray(column)) {
      x += column ?? 0;
      continue;
    }
    let y = top;
    const widest = Math.max(...column.map((name) => made[name].size[0]));
    for (const name of column) {
      made[name].pos = [x, y];
      made[name].setSize([widest, made[name].size[1]]);
      y += made[name].size[1] + gaps[1];
    }
    x += widest + gaps[0];
    bottom = Math.max(bottom, y);
  }
  const slot = (slots, name) => {
    const found = slots.findIndex((item) => item.name === name);
    if (found < 0) throw new Error(`no slot ${name} in ${slots.map((item) => item.name)}`);
    return found;
  };
  for (const link of links) {
    const [[from, output], [to, input]] = link.split(" -> ").map((end) => end.split("."));
    const [source, target] = [made[from], made[to]];
    source.connect(slot(source.outputs, output), target, slot(target.inputs, input));
  }
  const workflow = app.graph.serialize();
  if (shown) {
    const inputs = shown.inputs.map((widget) => widget.split(".")).map(([name, label]) => [String(made[name].id), label]);
    workflow.extra = { linearData: { inputs, outputs: shown.outputs.map((name) => String(made[name].id)) } };
  }
  return { workflow, prompt: (await app.graphToPrompt()).output };
}

// What depends on the builder's language and machine, a view that shows the whole graph, what can be fetched.
function tidy(workflow, version) {
  for (const node of workflow.nodes) {
    for (const slot of [...node.inputs, ...node.outputs]) delete slot.localized_name;
    node.properties = { ...properties(node, version), "Node name for S&R": node.type };
  }
  const extent = [0, 1].map((i) => Math.max(...workflow.nodes.map((n) => n.pos[i] + n.size[i])));
  const fits = [0, 1].map((i) => (VIEW[i] - MARGIN[i][0] - MARGIN[i][1]) / extent[i]);
  const scale = Math.floor(100 * Math.min(1, ...fits)) / 100;
  const { linearData } = workflow.extra ?? {}; // what app mode shows
  workflow.extra = { ds: { scale, offset: MARGIN.map(([start]) => start / scale) }, ...(linearData ? { linearData } : {}) };
  workflow.id = "00000000-0000-0000-0000-000000000000"; // ComfyUI gives the opened copy one of its own
  return workflow;
}

function properties({ type, widgets_values: values = [] }, version) {
  if (type === "MarkdownNote") return {};
  const models = (Array.isArray(values) ? values : [])
    .filter((value) => value in MODELS)
    .map((name) => ({ name, url: MODELS[name][1], directory: ELSEWHERE[type] ?? MODELS[name][0] }));
  const pack = PACKS.find(([pattern]) => pattern.test(type))?.[1]
    ?? (type.startsWith("DLM_") ? { cnr_id: "latent-map", ver: version.pack } : { cnr_id: "comfy-core", ver: version.core });
  return { ...pack, ...(models.length ? { models } : {}) };
}

const asText = (value) => JSON.stringify(value, null, 2) + "\n";

const [url, ...names] = process.argv.slice(2);
const project = await readFile(join(ROOT, "pyproject.toml"), "utf8");
const { system } = await (await fetch(`${url}/system_stats`)).json();
const version = { pack: project.match(/^version = "(.*)"$/m)[1], core: system.comfyui_version };
await withFrontend(url, async (page) => {
  for (const [name, recipe] of Object.entries(WORKFLOWS)) {
    if (names.length && !names.includes(name)) continue;
    const options = { sizes: SIZES, width: WIDTH, gaps: [COLUMN_GAP, ROW_GAP] };
    const { workflow, prompt } = await page.evaluate(`(${build})(${JSON.stringify(recipe)}, ${JSON.stringify(options)})`)
      .catch((error) => { throw new Error(`${name}: ${error.message}`); });
    await writeFile(join(ROOT, "workflows", `${name}.json`), asText(tidy(workflow, version)));
    await writeFile(join(HERE, "api", `${name}.json`), asText(prompt));
  }
});
