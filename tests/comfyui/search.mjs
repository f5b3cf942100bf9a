// What the frontend's own node search offers for words.
//
//     node search.mjs URL WORD ...
//
// Prints one JSON line {WORD: [ids of the nodes found, best first]}. In the search box of the canvas the
// first 64 are shown.
import { withFrontend } from "./canvas.mjs";

const SHOWN = 64;

// Runs in the page.
function search([words, shown]) {
  const { $pinia } = document.querySelector("#vue-app").__vue_app__.config.globalProperties;
  const { nodeSearchService } = $pinia._s.get("nodeDef");
  const found = (word) => nodeSearchService.searchNode(word, [], { limit: shown });
  return Object.fromEntries(words.map((word) => [word, found(word).map(({ name }) => name)]));
}

const [url, ...words] = process.argv.slice(2);
await withFrontend(url, async (page) => {
  console.log(JSON.stringify(await page.evaluate(search, [words, SHOWN])));
});
