// Build the pack's subgraph blueprints in ComfyUI's real frontend.
//
//     node build_blueprints.mjs URL       (a server with this pack)
//
// Writes subgraphs/NAME.json, which ComfyUI lists among its own blueprints.
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { withFrontend } from "./canvas.mjs";

const FOLDER = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "subgraphs");
const PREVIEW = "$$canvas-image-preview"; // the frontend's name of a picture on a node
const CATEGORY = "Image generation and editing/Enhance";
const COMPARED = ["pocket", "niqe", "brisque-cpp"];

// nodes: name -> [type, widgets, [x, y]]; inputs and outputs: what the subgraph shows -> what it stands for inside.
const BLUEPRINTS = {
  "Enhance picture (latent MAP)": {
    description: "Refines a picture by diffusion latent MAP estimation and shows it beside its input. No download.",
    aliases: ["enhance", "restore", "denoise", "detail", "quality", "post-enhance"],
    nodes: {
      enhance: ["DLM_PostEnhance", {}, [0, 0]],
      compare: ["DLM_ComparePictures", {}, [480, 0]],
    },
    links: ["enhance.image -> compare.after"],
    inputs: {
      image: ["enhance.image", "compare.before"],
      backbone: ["enhance.backbone"],
      prior: ["enhance.prior"],
      preset: ["enhance.preset"],
      strength: ["enhance.strength"],
    },
    outputs: { image: "enhance.image", comparison: "compare.sheet" },
    preview: "compare",
  },
  "Compare priors": {
    description: "Enhances a picture by three quality models, and scores the results with all three. No download.",
    aliases: ["quality", "IQA", "aesthetic", "compare", "prior"],
    nodes: Object.fromEntries(COMPARED.flatMap((name, row) => [
      [`prior_${row}`, ["DLM_IqaPrior", { name }, [0, 900 * row]]],
      [`enhance_${row}`, ["DLM_PostEnhance", {}, [400, 900 * row]]],
      [`compare_${row}`, ["DLM_ComparePictures", {}, [860, 900 * row]]],
      [`score_${row}`, ["DLM_IqaScore", {}, [1500, 900 * row]]],
    ])),
    links: COMPARED.flatMap((_, row) => [
      `prior_${row}.prior -> enhance_${row}.prior`,
      `enhance_${row}.image -> compare_${row}.after`,
      `enhance_${row}.image -> score_${row}.image`,
      ...["prior", "prior_b", "prior_c"].map((slot, judge) => `prior_${judge}.prior -> score_${row}.${slot}`),
    ]),
    inputs: {
      image: COMPARED.flatMap((_, row) => [`enhance_${row}.image`, `compare_${row}.before`]),
      backbone: COMPARED.map((_, row) => `enhance_${row}.backbone`),
      preset: COMPARED.map((_, row) => `enhance_${row}.preset`),
      ...Object.fromEntries(COMPARED.map((_, row) => [`prior_${row + 1}`, [`prior_${row}.name`]])),
    },
    outputs: Object.fromEntries(COMPARED.flatMap((_, row) => [
      [`image_${row + 1}`, `enhance_${row}.image`],
      [`scores_${row + 1}`, `score_${row}.scores`],
    ])),
    preview: "compare_0",
  },
};

// Runs in the page.
function build({ name, recipe, preview, category }) {
  app.graph.clear();
  const made = {};
  for (const [key, [type, widgets, place]] of Object.entries(recipe.nodes)) {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    node.pos = place;
    for (const [widget, value] of Object.entries(widgets)) node.widgets.find((w) => w.name === widget).value = value;
    made[key] = node;
  }
  const slot = (slots, name) => slots.findIndex((item) => item.name === name);
  const ends = (end) => end.split(".");
  for (const link of recipe.links) {
    const [[from, output], [to, input]] = link.split(" -> ").map(ends);
    made[from].connect(slot(made[from].outputs, output), made[to], slot(made[to].inputs, input));
  }
  const { node: host, subgraph } = app.graph.convertToSubgraph(new Set(Object.values(made)));
  subgraph.name = name;
  const inside = Object.fromEntries(Object.entries(made).map(([key, node]) => [key, subgraph.getNodeById(node.id)]));
  for (const [shown, targets] of Object.entries(recipe.inputs)) {
    const [first, input] = ends(targets[0]);
    const added = subgraph.addInput(shown, String(inside[first].inputs[slot(inside[first].inputs, input)].type));
    for (const target of targets) {
      const [key, label] = ends(target);
      added.connect(inside[key].inputs[slot(inside[key].inputs, label)], inside[key]);
    }
  }
  for (const [shown, source] of Object.entries(recipe.outputs)) {
    const [key, output] = ends(source);
    const from = inside[key].outputs[slot(inside[key].outputs, output)];
    subgraph.addOutput(shown, String(from.type)).connect(from, inside[key]);
  }
  host.title = name;
  host.size = host.computeSize();
  const blueprint = app.graph.serialize();
  const shown = { name: preview, sourceNodeId: String(inside[recipe.preview].id), sourcePreviewName: preview };
  blueprint.nodes[0].properties.previewExposures = [shown];
  blueprint.extra = { BlueprintDescription: recipe.description, BlueprintSearchAliases: recipe.aliases };
  blueprint.definitions.subgraphs[0].category = category;
  return blueprint;
}

await withFrontend(process.argv[2], async (page) => {
  for (const [name, recipe] of Object.entries(BLUEPRINTS)) {
    const blueprint = await page.evaluate(build, { name, recipe, preview: PREVIEW, category: CATEGORY });
    for (const node of [...blueprint.nodes, ...blueprint.definitions.subgraphs[0].nodes]) {
      for (const slot of [...node.inputs, ...node.outputs]) delete slot.localized_name;
      if (node.type.startsWith("DLM_")) node.properties.cnr_id = "latent-map";
    }
    await writeFile(join(FOLDER, `${name}.json`), JSON.stringify(blueprint, null, 2) + "\n");
  }
});
