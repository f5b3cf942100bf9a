// A simulated observer for tests: ?simulate=SEED. It looks at the pixels, prefers more local contrast,
// errs as people do, and answers through the page itself, by keys and clicks in turn.
const SLOPE = 6; // how surely a difference decides

// mulberry32: a small generator, so that a seed always gives the same answers
function generator(seed) {
  let state = [...seed].reduce((hash, sign) => Math.imul(hash ^ sign.charCodeAt(0), 16777619), 2166136261);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

// Logarithm of the mean absolute difference of neighbours.
function contrast(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let sum = 0;
  for (let place = 4; place < data.length; place += 4) sum += Math.abs(data[place + 1] - data[place - 3]);
  return Math.log(1 + sum / (canvas.width * canvas.height));
}

// Its generator starts anew in each trial, so that a reload changes no answer.
export function answer(seed, trial, buttons) {
  const random = generator(`${seed} ${trial}`);
  const [left, right] = [buttons.left, buttons.right].map((each) => contrast(each.firstElementChild));
  const side = random() < 1 / (1 + Math.exp(SLOPE * (right - left))) ? "left" : "right";
  if (trial % 2) return buttons[side].click();
  const key = side === "left" ? "ArrowLeft" : "ArrowRight";
  document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
}
