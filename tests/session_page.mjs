// Go through the page of a session in Chromium, as an observer would.
//
//     node session_page.mjs URL SCENARIO [FILE]
//
// Prints one JSON line: what the scenario found. FILE: where its screenshot goes.
import { LAUNCH, loadPlaywright } from "./comfyui/canvas.mjs";

const [url, name, file] = process.argv.slice(2);
const SCREENS = { pixels1: 1, pixels2: 2, scaled: 1.5 }; // scenarios on a screen of that ratio
const SECONDS = 60;
const ROOM = { width: 1000, height: 700 };
let browser;

// A window of its own, with what it asked for and what went wrong in it.
async function openWindow(options = {}, query = "") {
  const context = await browser.newContext({ viewport: ROOM, locale: "en-GB", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(1000 * SECONDS);
  const asked = [], errors = [];
  page.on("request", (request) => asked.push(request.url()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") errors.push(message.text()); });
  const address = new URL(url);
  new URLSearchParams(query).forEach((value, key) => address.searchParams.set(key, value));
  await page.goto(address.href);
  return { page, asked, errors };
}

const text = (page, id) => page.textContent(`#${id}`);

async function begin(page, observer) {
  await page.waitForSelector("#welcome:not([hidden])");
  await page.keyboard.type(observer); // the field has the focus already
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.getElementById("welcome").hidden
    || document.getElementById("form-error").textContent);
}

// "question" once both pictures can be seen, or the screen that came instead.
async function arrived(page, last) {
  const found = await page.waitForFunction((before) => {
    const shown = (id) => !document.getElementById(id).hidden;
    if (shown("refusal")) return "refusal";
    for (const id of ["welcome", "message", "end"]) if (shown(id)) return id;
    const { shown: number } = document.getElementById("trial").dataset; // once answers are taken
    return number !== undefined && number !== before ? "question" : null;
  }, last);
  return found.jsonValue();
}

const number = (page) => page.evaluate(() => document.getElementById("trial").dataset.shown);

// Answer until `count` questions are answered, or all: choose(page, index) gives the answer.
async function answer(page, choose, count = Infinity) {
  const headings = [];
  let last = null;
  for (let index = 0; index < count;) {
    const screen = await arrived(page, last);
    if (screen === "question") {
      last = await number(page);
      await choose(page, index);
      index += 1;
    } else if (screen === "message") {
      headings.push(await text(page, "message-heading"));
      await page.keyboard.press("Enter"); // the button has the focus
    } else {
      return { headings, screen };
    }
  }
  return { headings, screen: await arrived(page, last) };
}

const KEYS = ["ArrowLeft", "ArrowRight", "f", "J"];
const byKey = (page, index) => page.keyboard.press(KEYS[index % KEYS.length]);
const byClick = (page, index) => page.click(index % 2 ? "#right" : "#left");

// A hand that clicks twice, the second time when the next pair could be there.
const clickTwice = (page) => page.evaluate(() => {
  for (const each of document.querySelectorAll(".picture")) {
    each.addEventListener("click", (event) => {
      if (event.isTrusted) setTimeout(() => each.click(), 300);
    });
  }
});

// Where a canvas is, in pixels of the screen, and which trial it is of.
async function places(page) {
  return page.evaluate(() => Object.fromEntries(["left", "right"].map((side) => {
    const box = document.querySelector(`#${side} canvas`).getBoundingClientRect();
    return [side, [box.x, box.y, box.width, box.height].map((value) => value * devicePixelRatio)];
  })));
}

async function setRatio(page, deviceScaleFactor) {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Emulation.setDeviceMetricsOverride", {
    ...ROOM, deviceScaleFactor, mobile: false,
  });
}

// Emulated ratios are rescaled by the browser itself, and the page sees it; this is the true one.
async function pixels(ratio) {
  const { page } = await openWindow({ viewport: null });
  await begin(page, `observer at ${ratio}`);
  await answer(page, byKey, 3);
  await page.screenshot({ path: file, scale: "device" });
  if (await page.isVisible("#refusal")) return { refused: await text(page, "refusal") };
  const trial = Number(await number(page));
  return { trial, places: await places(page) };
}

const SCENARIOS = {
  async keys() {
    const { page, asked, errors } = await openWindow();
    await begin(page, "Kay");
    const went = await answer(page, byKey);
    return { ...went, asked, errors, html: await page.content(), end: await text(page, "end") };
  },

  async clicks() {
    const { page, errors } = await openWindow();
    await begin(page, "Cleo");
    await clickTwice(page);
    return { ...(await answer(page, byClick)), errors };
  },

  async reload() {
    const { page, errors } = await openWindow();
    await begin(page, "Rae");
    await answer(page, byKey, 4);
    await page.reload();
    const back = await answer(page, byKey, 1);
    await page.reload();
    return { back, ...(await answer(page, byKey)), errors };
  },

  async together() {
    const windows = [await openWindow(), await openWindow()];
    await begin(windows[0].page, "Ada");
    await begin(windows[1].page, "Bob");
    const went = await Promise.all(windows.map(({ page }) => answer(page, byKey)));
    return { screens: went.map(({ screen }) => screen), errors: windows.flatMap((w) => w.errors) };
  },

  // The same observer in two windows: the second one takes over, the first catches up.
  async twice() {
    const first = await openWindow();
    await begin(first.page, "Twin");
    await answer(first.page, byKey, 2);
    const second = await openWindow();
    await begin(second.page, "twin");
    await second.page.waitForSelector("#resume:not([hidden])");
    const question = await text(second.page, "form-error");
    await second.page.keyboard.press("Enter");
    await answer(second.page, byKey, 3);
    const went = await answer(first.page, byKey);
    return { question, screen: went.screen };
  },

  pixels1: () => pixels(1),
  pixels2: () => pixels(2),

  async scaled() {
    const { page } = await openWindow({ viewport: null });
    await page.waitForSelector("#refusal:not([hidden])");
    return { refused: await text(page, "refusal") };
  },

  // A browser that only pretends to have a finer screen.
  async emulated() {
    const { page } = await openWindow({ deviceScaleFactor: 2 });
    await begin(page, "Emma");
    await answer(page, byKey, 1);
    return { refused: await text(page, "refusal") };
  },

  async ratio() {
    const { page, errors } = await openWindow({ deviceScaleFactor: 1.25 });
    await page.waitForSelector("#refusal:not([hidden])");
    const refused = await text(page, "refusal");
    if (file) await page.screenshot({ path: file });
    await setRatio(page, 1);
    await page.waitForSelector("#refusal", { state: "hidden" });
    await page.focus("#observer");
    await begin(page, "Zoe");
    await answer(page, byKey, 1);
    await setRatio(page, 1.1);
    await page.waitForSelector("#refusal:not([hidden])");
    for (const key of KEYS) await page.keyboard.press(key); // none of them may count
    await page.waitForTimeout(300);
    const blank = await page.evaluate(() => document.getElementById("stage").className);
    await setRatio(page, 1);
    await page.waitForSelector("#refusal", { state: "hidden" });
    const went = await answer(page, byKey, 1);
    return { refused, blank, screen: went.screen, errors };
  },

  async room() {
    const { page, errors } = await openWindow();
    await begin(page, "Roo");
    await answer(page, byKey, 1);
    await page.setViewportSize({ width: 120, height: 150 });
    await page.waitForSelector("#refusal:not([hidden])");
    const refused = await text(page, "refusal");
    await page.setViewportSize(ROOM);
    await page.waitForSelector("#refusal", { state: "hidden" });
    return { refused, ...(await answer(page, byKey, 2)), errors };
  },

  async pause() {
    const { page } = await openWindow();
    await begin(page, "Paul");
    await answer(page, byKey, 3);
    await page.keyboard.press("p");
    await page.waitForSelector("#message:not([hidden])");
    const heading = await text(page, "message-heading");
    await page.keyboard.press("ArrowLeft"); // must not count
    return { heading, ...(await answer(page, byKey, 1)) };
  },

  async chinese() {
    const { page, errors } = await openWindow({ locale: "zh-CN" });
    await begin(page, "观察者 7");
    await answer(page, byKey, 1);
    const chinese = await page.evaluate(() => [document.documentElement.lang, document.body.innerText]);
    if (file) await page.screenshot({ path: file });
    await page.click("#language");
    const english = await page.evaluate(() => [document.documentElement.lang, document.body.innerText]);
    return { chinese, english, errors };
  },

  async labels() {
    const { page } = await openWindow();
    const count = (role, label) => page.getByRole(role, { name: label }).count();
    const found = {
      name: await count("textbox", "Your name or code"),
      distance: await count("spinbutton", /Distance/),
      begin: await count("button", "Begin"),
    };
    await begin(page, "Lea");
    await answer(page, byKey, 1);
    found.left = await count("button", /^Left picture/);
    found.right = await count("button", /^Right picture/);
    found.progress = await count("progressbar", /Pair|pair/);
    found.spoken = await text(page, "spoken");
    // by the tab key alone
    for (let step = 0; step < 6; step += 1) {
      await page.keyboard.press("Tab");
      if (await page.evaluate(() => document.activeElement.id) === "right") break;
    }
    found.reached = await page.evaluate(() => document.activeElement.id);
    const last = await number(page);
    await page.keyboard.press("Enter");
    await arrived(page, last);
    return found;
  },

  async robot() {
    const { page, asked, errors } = await openWindow({}, "simulate=7");
    await page.waitForSelector("#end:not([hidden])");
    return { asked: asked.length, errors };
  },

  // One of the next pair's pictures has gone until the test puts it back.
  async missing() {
    const { page } = await openWindow();
    await begin(page, "Mia"); // asks whether we are she
    await page.click("#resume");
    await page.waitForSelector("#message:not([hidden])");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#trouble:not([hidden])");
    const told = await text(page, "trouble");
    console.log("told");
    await answer(page, byKey, 1);
    return { told, hidden: await page.isHidden("#trouble") };
  },

  // The test kills the server and starts it anew when it reads "ready".
  async restart() {
    const { page } = await openWindow();
    await begin(page, "Stan");
    await answer(page, byKey, 3);
    console.log("ready");
    await new Promise((resolve) => process.stdin.once("data", resolve));
    const last = await number(page);
    await page.keyboard.press("ArrowLeft");
    await page.waitForSelector("#trouble:not([hidden])");
    const told = await text(page, "trouble");
    console.log("refused");
    await arrived(page, last);
    return { told, ...(await answer(page, byKey)) };
  },

  async token() {
    const { page, errors } = await openWindow();
    const address = page.url();
    await begin(page, "Tom");
    await answer(page, byKey, 1);
    await page.reload();
    const went = await answer(page, byKey, 1);
    const bare = await browser.newContext();
    const other = await bare.newPage();
    await other.goto(new URL("/", url).href);
    await begin(other, "Eve");
    return { address, screen: went.screen, refused: await text(other, "form-error"), errors };
  },
};

const { chromium } = loadPlaywright();
browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [...LAUNCH, "--window-size=1200,900", `--force-device-scale-factor=${SCREENS[name] ?? 1}`],
});
try {
  console.log(JSON.stringify(await SCENARIOS[name]()));
} finally {
  await browser.close();
}
process.exit(0);
