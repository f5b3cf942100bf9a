// All that the page says, in both languages. {name} is filled in; *key* becomes a key cap.
// A list is a bulleted one.
const ENGLISH = {
  title: "Which picture looks better?",
  instructions: [
    "You will see two pictures side by side, again and again. Choose the one that looks better to you: the one you would rather keep. There is no right answer, and there is no hurry.",
    [
      "Press *←* or *F* for the left picture, *→* or *J* for the right one, or click on it.",
      "If you see no difference, choose all the same.",
      "Every answer is saved at once. You can pause whenever you like, and go on later under the same name.",
      "A few pairs have an obvious answer, and a few come twice. They tell us how steadily people look.",
    ],
  ],
  observer: "Your name or code",
  observer_help: "It is written beside your answers. A code that your experimenter gave you says less about you.",
  viewing: "How you sit",
  viewing_help: "Leave empty what nobody has measured. Screen and browser are written down, too.",
  distance: "Distance from your eyes to the screen, in cm",
  diagonal: "Diagonal of the screen, in inches",
  lux: "Light in the room, in lux",
  density: "That is {value} pixels in a degree of your view.",
  begin: "Begin",
  resume: "I am {name}: go on where I was",
  fullscreen: "Full screen",
  asked: "Which picture looks better?",
  keys: "*←* left or right *→*, or click",
  pause: "Pause (P)",
  left_label: "Left picture: choose it (left arrow key)",
  right_label: "Right picture: choose it (right arrow key)",
  part_training: "Training, pair {number} of {of}",
  part: "Pair {number} of {of}",
  training_heading: "First, some to practise on",
  training_text: ["{of} pairs show you how it goes. They are not counted."],
  training_go: "Start the training",
  main_heading: "Now for the study",
  main_text: ["{of} pairs. A break is offered from time to time, and *P* pauses at any moment."],
  main_go: "Start",
  rest_heading: "Time for a break",
  rest_text: [
    "You have answered {done} of {of} pairs. Look into the distance for a moment, or get up. All is saved.",
  ],
  paused_heading: "Paused",
  paused_text: ["You have answered {done} of {of} pairs. All is saved. You may also close this window and come back later under the same name, {name}."],
  back_heading: "Welcome back, {name}",
  back_text: ["You have answered {done} of {of} pairs."],
  go_on: "Go on",
  end_heading: "That was all. Thank you!",
  end_text: ["Your answers are saved. You may close this window."],
  ratio_heading: "The pictures would be rescaled",
  ratio_text: [
    "One pixel of a picture must be one pixel of your screen. Here it would cover {ratio}; only 1, 2 or 3 can be put right by this page.",
    [
      "Press *Ctrl* and *0* (on a Mac *⌘* and *0*): that sets the browser's zoom to 100 %.",
      "{advice}",
    ],
    "This notice goes away by itself once it fits.",
  ],
  ratio_zoom: "Does it stay? Then your system enlarges everything: set the browser's zoom to {zoom} % instead.",
  ratio_system: "Does it stay? Then your system enlarges everything: set its display scaling to 100 % or 200 %.",
  pinch_heading: "The page is enlarged",
  pinch_text: [
    "The pictures would be blurred. Pinch with two fingers until the page has its own size again.",
    "This notice goes away by itself once it fits.",
  ],
  window_heading: "The window is too small",
  window_text: [
    "Both pictures need {need} pixels; this window has {have}.",
    ["Make the window larger, or press *F11* for the full screen.", "If that is not enough, use a larger screen."],
    "This notice goes away by itself once it fits.",
  ],
  measured_heading: "The pictures would be rescaled",
  measured_text: [
    "The browser would draw a picture of {need} pixels on {have}. Set its zoom to 100 % (*Ctrl* and *0*), or use another browser.",
    "This notice goes away by itself once it fits.",
  ],
  trouble: "Your answer is not saved yet. Trying again … If this stays, call your experimenter.",
  trouble_pictures: "The pictures cannot be loaded. Trying again … If this stays, call your experimenter.",
  error_name: "This name cannot be used: give at most 40 letters, digits, spaces, '.', '-' or '_', beginning with a letter or a digit, and not with 'robot'.",
  error_taken: "{name} has begun here already. Are you that person? Otherwise choose another name.",
  error_token: "This address lacks its token: open the whole link that your experimenter gave you.",
  error_other: "That did not work ({message}). Call your experimenter.",
};

const CHINESE = {
  title: "哪一张图片更好？",
  instructions: [
    "您将反复看到并排的两张图片。请选出您觉得更好看、更愿意保留的那一张。没有标准答案，也没有时间限制。",
    [
      "按 *←* 或 *F* 选左图，按 *→* 或 *J* 选右图，也可以直接点击图片。",
      "看不出区别时，也请选一张。",
      "每个回答都会立即保存。您可以随时暂停，之后用同一个名字继续。",
      "有几对图片的答案是显而易见的，还有几对会出现两次，用来了解观察者是否一直认真在看。",
    ],
  ],
  observer: "您的姓名或编号",
  observer_help: "它会与您的回答记录在一起。使用实验人员给您的编号更能保护隐私。",
  viewing: "观看条件",
  viewing_help: "没有测量过的项目请留空。屏幕和浏览器的信息也会被记录。",
  distance: "眼睛到屏幕的距离（厘米）",
  diagonal: "屏幕对角线（英寸）",
  lux: "室内照度（勒克斯）",
  density: "即每度视角 {value} 个像素。",
  begin: "开始",
  resume: "我就是 {name}，继续上次的实验",
  fullscreen: "全屏",
  asked: "哪一张图片更好？",
  keys: "*←* 左图　*→* 右图，或直接点击",
  pause: "暂停 (P)",
  left_label: "左图：选它（左方向键）",
  right_label: "右图：选它（右方向键）",
  part_training: "练习，第 {number} 对，共 {of} 对",
  part: "第 {number} 对，共 {of} 对",
  training_heading: "先来练习一下",
  training_text: ["用 {of} 对图片熟悉操作，结果不计入实验。"],
  training_go: "开始练习",
  main_heading: "正式实验",
  main_text: ["共 {of} 对图片。中途会提示休息，您也可以随时按 *P* 暂停。"],
  main_go: "开始",
  rest_heading: "休息一下",
  rest_text: ["您已完成 {done} 对，共 {of} 对。请看看远处，或起身活动一下。所有回答都已保存。"],
  paused_heading: "已暂停",
  paused_text: ["您已完成 {done} 对，共 {of} 对。所有回答都已保存。您也可以关闭窗口，之后用同一个名字（{name}）继续。"],
  back_heading: "欢迎回来，{name}",
  back_text: ["您已完成 {done} 对，共 {of} 对。"],
  go_on: "继续",
  end_heading: "全部完成，谢谢您！",
  end_text: ["您的回答已保存，可以关闭窗口了。"],
  ratio_heading: "图片会被缩放",
  ratio_text: [
    "图片的一个像素必须正好是屏幕的一个像素。现在的比例是 {ratio}，而本页面只能校正 1、2 或 3。",
    ["请按 *Ctrl* 和 *0*（Mac 上按 *⌘* 和 *0*），把浏览器缩放恢复到 100%。", "{advice}"],
    "调整好后，此提示会自动消失。",
  ],
  ratio_zoom: "如果仍有此提示，说明系统放大了显示：请把浏览器缩放设为 {zoom}%。",
  ratio_system: "如果仍有此提示，说明系统放大了显示：请把系统的显示缩放设为 100% 或 200%。",
  pinch_heading: "页面被放大了",
  pinch_text: ["图片会变模糊。请用双指把页面缩回原来的大小。", "调整好后，此提示会自动消失。"],
  window_heading: "窗口太小",
  window_text: [
    "两张图片需要 {need} 像素，当前窗口只有 {have}。",
    ["请放大窗口，或按 *F11* 进入全屏。", "如果仍然不够，请换一个更大的屏幕。"],
    "调整好后，此提示会自动消失。",
  ],
  measured_heading: "图片会被缩放",
  measured_text: [
    "浏览器会把 {need} 像素的图片画成 {have} 像素。请把缩放设为 100%（*Ctrl* 和 *0*），或换一个浏览器。",
    "调整好后，此提示会自动消失。",
  ],
  trouble: "您的回答还没有保存，正在重试……如果一直这样，请告诉实验人员。",
  trouble_pictures: "图片无法载入，正在重试……如果一直这样，请告诉实验人员。",
  error_name: "不能使用这个名字：最多 40 个字符，可用字母、汉字、数字、空格、“.”、“-”、“_”，以字母、汉字或数字开头，且不能以 robot 开头。",
  error_taken: "{name} 已经在这里开始过。是您本人吗？如果不是，请换一个名字。",
  error_token: "网址中缺少令牌：请打开实验人员给您的完整链接。",
  error_other: "操作失败（{message}）。请告诉实验人员。",
};

const LANGUAGES = {
  en: { texts: ENGLISH, tag: "en", other: "zh" },
  zh: { texts: CHINESE, tag: "zh-CN", other: "en" },
};
const NAMES = { en: "English", zh: "中文" };
const STORED = "latent-map language";

export let language = preferred();

function preferred() {
  const stored = localStorage.getItem(STORED);
  if (stored in LANGUAGES) return stored;
  const known = navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase());
  return known.find((tag) => tag in LANGUAGES) ?? "en";
}

export function switchLanguage() {
  language = LANGUAGES[language].other;
  localStorage.setItem(STORED, language);
}

export function otherLanguage() {
  return NAMES[LANGUAGES[language].other];
}

function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

// A text that is one line, without key caps.
export function line(key, values = {}) {
  return filled(LANGUAGES[language].texts[key], values);
}

// What is typed by a person goes in as text, never as HTML.
function inline(text, values) {
  const parts = text.split(/\*([^*]+)\*/);
  return parts.map((part, index) => {
    if (index % 2 === 0) return document.createTextNode(filled(part, values));
    return Object.assign(document.createElement("kbd"), { textContent: part });
  });
}

function element(tag, children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

export function write(target, key, values = {}) {
  const text = LANGUAGES[language].texts[key];
  if (!Array.isArray(text)) return target.replaceChildren(...inline(text, values));
  target.replaceChildren(...text.map((part) => Array.isArray(part)
    ? element("ul", part.filter((item) => filled(item, values)).map((item) => element("li", inline(item, values))))
    : element("p", inline(part, values))));
}

// Everything that does not depend on what happens.
export function writeStatic() {
  document.documentElement.lang = LANGUAGES[language].tag;
  for (const each of document.querySelectorAll("[data-text]")) write(each, each.dataset.text);
  for (const each of document.querySelectorAll("[data-label]")) each.setAttribute("aria-label", line(each.dataset.label));
}
