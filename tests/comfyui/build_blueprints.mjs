// Build the pack's subgraph blueprints in ComfyUI's real frontend.
//
//     node build_blueprints.mjs URL       (a server with this pack)
//
// Writes subgraphs/NAME.json, which ComfyUI lists among its own blueprints.
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { withFrontend } from "./canvas.mjs";

const FOLDER = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "subgraphs");
const PREVIEW = "$$canvas-image-preview"; // the frontend's name of a picture on a node
const CATEGORY = "Image generation and editing/Enhance";
const UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g;
const NO_ID = "00000000-0000-0000-0000-000000000000"; // of an unsaved workflow
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
    size: [460, 460],
  },
  "Compare priors": {
    description: "Enhances a picture by three quality models, shows the results and scores them with all three. No download.",
    aliases: ["quality", "IQA", "aesthetic", "compare", "prior", "judge"],
    nodes: {
      ...Object.fromEntries(COMPARED.map((name, row) => [`prior_${row}`, ["DLM_IqaPrior", { name }, [0, 240 * row]]])),
      compare: ["DLM_ComparePriors", {}, [480, 0]],
    },
    links: COMPARED.map((_, row) => `prior_${row}.prior -> compare.prior_${"abc"[row]}`),
    inputs: {
      image: ["compare.image"],
      backbone: ["compare.backbone"],
      fidelity: ["compare.fidelity"],
      image_a: ["compare.image_a"],
      preset: ["compare.preset"],
      ...Object.fromEntries(COMPARED.map((_, row) => [`prior_${row + 1}`, [`prior_${row}.name`]])),
    },
    outputs: { grid: "compare.grid", results: "compare.results", scores: "compare.scores", region: "compare.region" },
    preview: "compare",
    size: [760, 600],
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
  host.size = recipe.size; // with room for the preview
  const blueprint = app.graph.serialize();
  const shown = { name: preview, sourceNodeId: String(inside[recipe.preview].id), sourcePreviewName: preview };
  blueprint.nodes[0].properties.previewExposures = [shown];
  blueprint.extra = { BlueprintDescription: recipe.description, BlueprintSearchAliases: recipe.aliases };
  blueprint.definitions.subgraphs[0].category = category;
  return blueprint;
}

// The frontend draws ids at random: the same blueprint has the same ones in every build.
function withIdsOfNames(text, name) {
  const drawn = [...new Set(text.match(UUID))].filter((id) => id !== NO_ID);
  return drawn.reduce((made, id, index) => made.replaceAll(id, idOf(`latent-map/${name}/${index}`)), text);
}

function idOf(name) {
  const digits = createHash("sha256").update(name).digest("hex");
  return [[0, 8], [8, 12], [12, 16], [16, 20], [20, 32]].map(([start, end]) => digits.slice(start, end)).join("-");
}

await withFrontend(process.argv[2], async (page) => {
  for (const [name, recipe] of Object.entries(BLUEPRINTS)) {
    const blueprint = await page.evaluate(build, { name, recipe, preview: PREVIEW, category: CATEGORY });
    for (const node of [...blueprint.nodes, ...blueprint.definitions.subgraphs[0].nodes]) {
      for (const slot of [...node.inputs, ...node.outputs]) delete slot.localized_name;
      if (node.type.startsWith("DLM_")) node.properties.cnr_id = "latent-map";
    }
    await writeFile(join(FOLDER, `${name}.json`), withIdsOfNames(JSON.stringify(blueprint, null, 2), name) + "\n");
  }
});
