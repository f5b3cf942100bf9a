// A session as an observer goes through it.
import * as pixels from "./pixels.js";
import { both, prepare } from "./pictures.js";
import { Refusal, post } from "./requests.js";
import { answer } from "./robot.js";
import { line, otherLanguage, switchLanguage, write, writeStatic } from "./texts.js";

const BLANK_MS = 400; // between two pairs: nothing to compare the next one with, no double click
const WATCH_MS = 250;
const KEYS = { ArrowLeft: "left", f: "left", ArrowRight: "right", j: "right" };

const $ = (id) => document.getElementById(id);
const buttons = { left: $("left"), right: $("right") };
const seed = new URLSearchParams(location.search).get("simulate");
const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));

const state = {
  observer: null,
  question: null,
  facts: {}, // what the observer was asked
  window: "", // size and ratio for which the page was arranged
  bitmaps: null, // those of the question, once decoded
  shownAt: null, // when both could be seen; null while no answer is taken
  turn: 0, // a later call of show() takes over from an earlier one
  texts: () => {}, // writes again what depends on the language
  sentViewing: "",
};

function show(id) {
  for (const each of document.querySelectorAll("main > section")) each.hidden = each.id !== id;
  if (id !== "trial") state.shownAt = null;
  scrollTo(0, 0);
}

function say(texts) {
  state.texts = texts;
  texts();
}

function trouble(is, what = "trouble") {
  $("trouble").hidden = !is;
  if (is) $("trouble").textContent = line(what);
}

function message(name, values, go, next) {
  show("message");
  say(() => {
    write($("message-heading"), `${name}_heading`, values);
    write($("message-text"), `${name}_text`, values);
    write($("go"), go);
  });
  $("go").onclick = next;
  $("go").focus();
  if (seed !== null) setTimeout(() => $("go").click());
}

// Between two questions: what is to be read first, if anything.
function ask(question, back = false) {
  state.question = question;
  state.bitmaps = null;
  const values = { ...question, name: state.observer };
  if (question.trial === null) return end();
  prepare(question.pictures, question.next_pictures);
  const start = () => present();
  if (back && question.done) return message("back", values, "go_on", start);
  if (question.training && !question.done) return message("training", values, "training_go", start);
  if (!question.training && !question.done) return message("main", values, "main_go", start);
  if (question.rest) return message("rest", values, "go_on", start);
  return present();
}

function end() {
  prepare(null, null);
  show("end");
  say(() => write($("end-text"), "end_text"));
  sessionStorage.removeItem("observer");
  $("end-heading").focus();
}

// Show the pair of the question: blank, then both pictures in one paint.
async function present() {
  const turn = ++state.turn;
  const { question } = state;
  state.shownAt = null;
  delete $("trial").dataset.shown;
  show("trial");
  $("stage").classList.add("blank");
  for (const each of Object.values(buttons)) each.classList.remove("chosen");
  const values = { number: question.done + 1, of: question.of };
  say(() => write($("part"), question.training ? "part_training" : "part", values));
  Object.assign($("progress"), { max: question.of, value: question.done });
  $("stage").focus();
  const [bitmaps] = await Promise.all([decoded(question.pictures), later(BLANK_MS)]);
  if (turn !== state.turn) return;
  state.bitmaps = bitmaps;
  if (!(await fits())) return; // present() is called again once it does
  if (turn !== state.turn) return;
  $("stage").classList.remove("blank");
  $("spoken").textContent = $("part").textContent;
  await painted();
  if (turn !== state.turn) return;
  state.shownAt = performance.now();
  $("trial").dataset.shown = question.trial;
  tellViewing();
  if (seed !== null) answer(seed, question.trial, buttons);
}

async function decoded(addresses) {
  for (;;) {
    try {
      const bitmaps = await both(addresses);
      trouble(false);
      return bitmaps;
    } catch (error) {
      // The server was started anew and has other addresses.
      if (error instanceof Refusal && error.code !== "server") return again();
      trouble(true, "trouble_pictures");
      await later(BLANK_MS * 4);
    }
  }
}

// Ask for the question again, as after a reload.
async function again() {
  state.turn += 1;
  await enter({ observer: state.observer, resume: true });
  return null;
}

// Whether a picture can be shown pixel by pixel; otherwise say why not, in the place of all else.
async function fits() {
  state.window = pixels.windowNow();
  const bitmaps = $("trial").hidden ? null : state.bitmaps;
  let problem = pixels.screenProblem();
  if (!problem && bitmaps) problem = pixels.roomProblem(bitmaps.left.width, bitmaps.left.height);
  if (!problem && bitmaps) {
    pixels.place(buttons, bitmaps);
    problem = await pixels.measuredProblem(buttons.left.firstElementChild);
  }
  const was = !$("refusal").hidden;
  $("refusal").hidden = !problem;
  document.querySelector("main").inert = Boolean(problem);
  if (!problem) return true;
  state.shownAt = null;
  $("stage").classList.add("blank");
  writeProblem(problem);
  if (!was) $("refusal").focus();
  return false;
}

function writeProblem(problem) {
  const advice = problem.advice
    ? line("ratio_zoom", { zoom: problem.advice }) : line("ratio_system");
  write($("refusal-heading"), `${problem.code}_heading`);
  write($("refusal-text"), `${problem.code}_text`, { ...problem, advice });
}

// The window or its zoom has changed: place the pictures anew, or refuse.
async function changed() {
  state.window = pixels.windowNow();
  if (!$("trial").hidden) {
    state.turn += 1;
    return present();
  }
  await fits();
}

function tellViewing() {
  const facts = { ...pixels.viewing(), ...state.facts };
  const text = JSON.stringify(facts);
  if (text === state.sentViewing) return;
  state.sentViewing = text;
  post("/viewing", { observer: state.observer, viewing: facts }, () => {}).catch(() => {});
}

async function choose(side, time) {
  if (state.shownAt === null || $("trial").hidden) return;
  if (state.window !== pixels.windowNow()) return changed(); // it was not seen as it should be
  const rt_ms = Math.max(0, time - state.shownAt);
  const { trial } = state.question;
  state.shownAt = null;
  buttons[side].classList.add("chosen");
  try {
    const body = { observer: state.observer, trial, side, rt_ms };
    const { question } = await post("/vote", body, trouble);
    ask(question);
  } catch (error) {
    // Another window of the same observer has gone on, or the server does not know us any more.
    if (error.code === "token") return failed(error);
    await again();
  }
}

function pause() {
  if ($("trial").hidden || !$("refusal").hidden) return;
  state.turn += 1;
  const values = { ...state.question, name: state.observer };
  message("paused", values, "go_on", () => present());
}

// Begin, or go on: a wish is {observer, resume} or {simulate}.
async function enter(wish) {
  const wanted = { ...wish, viewing: { ...pixels.viewing(), ...state.facts } };
  try {
    const { observer, question } = await post("/begin", wanted, trouble);
    state.observer = observer;
    sessionStorage.setItem("observer", observer);
    ask(question, true);
  } catch (error) {
    failed(error, wish);
  }
}

function failed(error, wish = {}) {
  const name = wish.observer ?? state.observer ?? "";
  const known = ["name", "taken", "token"].includes(error.code) ? error.code : "other";
  show("welcome");
  $("resume").hidden = error.code !== "taken";
  say(() => {
    write($("form-error"), `error_${known}`, { name, message: error.message });
    write($("resume"), "resume", { name });
    writeDensity();
  });
  (error.code === "taken" ? $("resume") : $("observer")).focus();
}

function asked() {
  const value = (id) => (Number($(id).value) > 0 ? Number($(id).value) : undefined);
  const [distance, diagonal, lux] = ["distance", "diagonal", "lux"].map(value);
  return {
    distance_mm: distance && 10 * distance, screen_diagonal_inch: diagonal,
    pixel_pitch_mm: diagonal && pixels.pitch(diagonal), lux,
  };
}

function writeDensity() {
  const { distance_mm, pixel_pitch_mm } = asked();
  const known = distance_mm && pixel_pitch_mm;
  const value = known && pixels.pixelsPerDegree(pixel_pitch_mm, distance_mm).toFixed(1);
  $("density").textContent = known ? line("density", { value }) : "";
}

function submit(resume) {
  state.facts = asked();
  $("form-error").textContent = "";
  enter({ observer: $("observer").value, resume });
}

function listen() {
  for (const [side, button] of Object.entries(buttons)) {
    button.addEventListener("click", (event) => choose(side, event.timeStamp));
  }
  document.addEventListener("keydown", (event) => {
    if ($("trial").hidden || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === "p") return pause();
    if (!(key in KEYS)) return;
    event.preventDefault();
    choose(KEYS[key], event.timeStamp);
  });
  $("pause").addEventListener("click", pause);
  $("form").addEventListener("input", writeDensity);
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    submit(false);
  });
  $("observer").addEventListener("input", () => { $("resume").hidden = true; });
  $("resume").addEventListener("click", () => submit(true));
  $("fullscreen").addEventListener("click", () => document.documentElement.requestFullscreen?.());
  $("language").addEventListener("click", () => {
    switchLanguage();
    writeAll();
  });
  window.addEventListener("resize", changed);
  // A move to another screen changes the ratio, and not every browser tells of it.
  setInterval(() => { if (state.window !== pixels.windowNow()) changed(); }, WATCH_MS);
}

function writeAll() {
  writeStatic();
  $("language").textContent = otherLanguage();
  $("language").lang = document.documentElement.lang === "en" ? "zh-CN" : "en";
  state.texts();
  if (!$("refusal").hidden) fits();
}

function welcome() {
  show("welcome");
  say(writeDensity);
  $("observer").focus();
}

async function open() {
  writeAll();
  listen();
  await fits();
  const before = sessionStorage.getItem("observer");
  if (seed !== null) return enter({ simulate: seed });
  if (before) return enter({ observer: before, resume: true });
  return welcome();
}

open();
