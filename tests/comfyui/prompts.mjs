// What the frontend makes of workflows, without running them.
//
//     node prompts.mjs URL WORKFLOW.json ...
//
// Prints one JSON line {FILE: {nodes, missing, prompt}}: node types that do not exist, and the prompt in API format.
import { readFile } from "node:fs/promises";
import { load, withFrontend } from "./canvas.mjs";

const [url, ...files] = process.argv.slice(2);
await withFrontend(url, async (page) => {
  const made = {};
  for (const file of files) {
    const loaded = await page.evaluate(load, JSON.parse(await readFile(file, "utf8")));
    made[file] = { ...loaded, prompt: (await page.evaluate(() => app.graphToPrompt())).output };
  }
  console.log(JSON.stringify(made));
});
