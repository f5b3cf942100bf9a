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
      backbone: ["DLM_LoadBackbone", [0, 200], [320, 60], {}],
      load: ["LoadImage", [0, 330], [320, 440], SAMPLE],
      invert: ["DLM_EdictInvert", [400, 0], [340, 200], { steps: 6, mixing: 0.93 }],
      fidelity: ["DLM_FidelityLoss", [400, 330], [340, 110], {}],
      prior: ["DLM_IqaPrior", [400, 570], [340, 60], {}],
      optimise: ["DLM_LatentMapOptimizer", [820, 0], [360, 770], {}],
      reconstruct: ["DLM_EdictReconstruct", [1260, 0], [400, 50], {}],
      plot: ["PreviewImage", [1260, 140], [400, 360], {}],
      save: ["SaveImage", [1740, 0], [360, 400], { filename_prefix: "latent_map" }],
      score: ["DLM_IqaScore", [1740, 470], [360, 60], {}],
      scores: ["PreviewAny", [1740, 600], [360, 150], {}],
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
};

// Runs in the page.
async function build({ nodes, links }) {
  app.graph.clear();
  const made = {};
  for (const [name, [type, pos, size, widgets]] of Object.entries(nodes)) {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    node.pos = pos;
    node.setSize(size);
    for (const [key, value] of Object.entries(widgets)) {
      const widget = node.widgets.find((item) => item.name === key || type === "Note");
      widget.options?.values?.push?.(value); // the sample need not be in this server's input folder
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
