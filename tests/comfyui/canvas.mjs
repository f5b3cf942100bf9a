// Load a UI-format workflow in ComfyUI's real frontend, queue it, and photograph the canvas.
//
//     node canvas.mjs URL WORKFLOW.json SCREENSHOT.png [graph] [nodes2]
//
// With `graph` nothing is queued: a workflow whose files are not there, as it lies on the canvas.
// With `nodes2` the canvas is that of Nodes 2.0, otherwise the classic one.
// Prints one JSON line {nodes, missing, success, error, prompt, outputs, subgraphs, seconds}; exit status 0 only if
// every node type exists and the run succeeded. `prompt` is what the frontend sent, in API format; `outputs` what
// nodes showed, by id; `subgraphs` where those nodes are in the photograph: left, top, right, bottom.
// PLAYWRIGHT_CORE: folder of playwright-core; CHROMIUM: the browser; CANVAS_TIMEOUT: seconds.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const LAUNCH = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const SECONDS = Number(process.env.CANVAS_TIMEOUT ?? 300);

export function loadPlaywright() {
  const require = createRequire(import.meta.url); // unlike import, it honours NODE_PATH
  const fallback = join(homedir(), "canvas", "node_modules", "playwright-core");
  for (const place of [process.env.PLAYWRIGHT_CORE, "playwright-core", fallback].filter(Boolean)) {
    try {
      return require(place);
    } catch (error) {
      if (error.code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  throw new Error("playwright-core not found: npm i playwright-core, and set PLAYWRIGHT_CORE to it");
}

async function openFrontend(page, url, settings) {
  // without the first the template dialog covers the canvas on the first visit
  for (const [name, value] of Object.entries({ "Comfy.TutorialCompleted": true, ...settings })) {
    await fetch(`${url}/settings/${name}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value),
    });
  }
  await page.goto(url, { waitUntil: "domcontentloaded" });
  await page.waitForFunction(
    () => window.app?.graph && window.LiteGraph?.registered_node_types?.SaveImage,
  );
  // It opens a workflow of its own by and by, which would take the place of ours.
  const opened = page.waitForFunction(() => app.graph.nodes.length > 0, null, { timeout: 20_000 });
  await opened.catch((error) => { if (error.name !== "TimeoutError") throw error; });
}

// The functions below run in the page.
export async function load(workflow) {
  await app.loadGraphData(workflow);
  const graphs = [app.graph, ...(app.graph.subgraphs?.values() ?? [])];
  const types = graphs.flatMap((graph) => graph.nodes).map((node) => node.type);
  const missing = types.filter((type) => !LiteGraph.registered_node_types[type]);
  return { nodes: types.length, missing: [...new Set(missing)] };
}

async function queue() {
  const { output } = await app.graphToPrompt();
  const outputs = {};
  app.api.addEventListener("executed", ({ detail }) => { outputs[detail.node] = detail.output; });
  const done = new Promise((resolve) => {
    app.api.addEventListener("execution_success", () => resolve(null));
    app.api.addEventListener("execution_error", ({ detail }) => resolve(detail));
    app.api.addEventListener("execution_interrupted", ({ detail }) => resolve(detail));
  });
  await app.queuePrompt(0, 1);
  const refused = app.lastNodeErrors ?? {}; // a prompt refused by /prompt never starts
  const error = Object.keys(refused).length ? refused : await done;
  return { success: error === null, error, prompt: output, outputs };
}

function pictured() {
  const shows = ({ type }) => ["SaveImage", "PreviewImage"].includes(type);
  const nodes = app.graph.nodes.filter(shows);
  if (LiteGraph.vueNodesMode) return [...document.querySelectorAll("img")].every((image) => image.complete);
  return nodes.every((node) => node.imgs?.every((image) => image.complete));
}

function subgraphsOnScreen() {
  const { scale, offset } = app.canvas.ds;
  const { left, top } = app.canvas.canvas.getBoundingClientRect();
  const place = ([x, y]) => [left + (x + offset[0]) * scale, top + (y + offset[1]) * scale];
  const hosts = app.graph.nodes.filter((node) => node.subgraph);
  return hosts.map(({ pos, size }) => [...place(pos), ...place([pos[0] + size[0], pos[1] + size[1]])]);
}

function within(promise, seconds, what) {
  const late = (_, reject) =>
    setTimeout(() => reject(new Error(`${what} took more than ${seconds} s`)), 1000 * seconds).unref();
  return Promise.race([promise, new Promise(late)]);
}

export async function withFrontend(url, work, settings = {}) {
  const { chromium } = loadPlaywright();
  const profile = await mkdtemp(join(tmpdir(), "canvas-"));
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: LAUNCH, viewport: { width: 1600, height: 1000 },
  });
  browser.setDefaultTimeout(1000 * SECONDS);
  try {
    const page = await browser.newPage();
    await openFrontend(page, url.replace(/\/$/, ""), settings);
    return await work(page);
  } finally {
    await browser.close();
    await rm(profile, { recursive: true, force: true });
  }
}

async function run(page, workflowPath, screenshotPath, graphOnly) {
  const workflow = JSON.parse(await readFile(workflowPath, "utf8"));
  const loaded = await within(page.evaluate(load, workflow), SECONDS, "loading the workflow");
  const complete = loaded.missing.length === 0;
  const ran = complete && !graphOnly
    ? await within(page.evaluate(queue), SECONDS, "the run")
    : { success: complete };
  if (ran.prompt && ran.success) await page.waitForFunction(pictured); // after the success message
  await page.waitForTimeout(1500);
  await page.screenshot({ path: screenshotPath });
  return { ...loaded, ...ran, subgraphs: await page.evaluate(subgraphsOnScreen) };
}

async function main([url, workflowPath, screenshotPath, ...more]) {
  if (!screenshotPath) {
    console.error("usage: node canvas.mjs URL WORKFLOW.json SCREENSHOT.png [graph] [nodes2]");
    process.exit(2);
  }
  const start = Date.now();
  const photograph = (page) => run(page, workflowPath, screenshotPath, more.includes("graph"));
  const settings = { "Comfy.VueNodes.Enabled": more.includes("nodes2") };
  const result = await withFrontend(url, photograph, settings);
  console.log(JSON.stringify({ ...result, seconds: (Date.now() - start) / 1000 }));
  process.exit(result.success ? 0 : 1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));
