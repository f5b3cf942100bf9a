// One pixel of a picture on one pixel of the screen, or a reason why not.
const GAP = 32; // screen pixels between the pictures
const TOP = 78, BOTTOM = 56; // CSS pixels of the lines above and below
const CLOSE = 0.001; // browsers give ratios such as 0.9999

export function ratio() {
  const whole = Math.round(devicePixelRatio);
  return Math.abs(devicePixelRatio - whole) < CLOSE ? whole : devicePixelRatio;
}

// What decides how pictures are shown; another text once it has changed.
export function windowNow() {
  return [devicePixelRatio, innerWidth, innerHeight, window.visualViewport?.scale].join(" ");
}

// A fraction of a screen pixel could only be had by rescaling the pictures; whole multiples are undone.
export function screenProblem() {
  const value = ratio();
  if (window.visualViewport && Math.abs(visualViewport.scale - 1) > CLOSE) return { code: "pinch" };
  if (Number.isInteger(value) && value >= 1) return null;
  return { code: "ratio", ratio: Number(value.toFixed(3)), advice: zoomAdvice(value) };
}

const ZOOMS = [50, 67, 75, 80, 90, 110, 125, 150]; // what browsers offer

// The zoom that would make the ratio whole, if a browser has it.
function zoomAdvice(value) {
  const exact = { 67: 200 / 3 };
  return ZOOMS.find((zoom) => {
    const undone = value * (exact[zoom] ?? zoom) / 100;
    return Math.round(undone) >= 1 && Math.abs(undone - Math.round(undone)) < CLOSE;
  });
}

export function roomProblem(width, height) {
  const need = [2 * width + GAP, height + Math.ceil((TOP + BOTTOM) * ratio())];
  const have = [innerWidth, innerHeight].map((value) => Math.round(value * ratio()));
  if (need[0] <= have[0] && need[1] <= have[1]) return null;
  return { code: "window", need: need.join(" × "), have: have.join(" × ") };
}

// Put both canvases beside each other, each on whole screen pixels.
export function place(buttons, bitmaps) {
  const { width, height } = bitmaps.left;
  const scale = ratio();
  const [across, down] = [innerWidth, innerHeight].map((value) => Math.round(value * scale));
  const left = Math.floor((across - 2 * width - GAP) / 2);
  const top = TOP * scale + Math.floor((down - (TOP + BOTTOM) * scale - height) / 2);
  for (const [side, x] of [["left", left], ["right", left + width + GAP]]) {
    const canvas = buttons[side].firstElementChild;
    Object.assign(canvas, { width, height });
    Object.assign(canvas.style, { width: `${width / scale}px`, height: `${height / scale}px` });
    Object.assign(buttons[side].style, { left: `${x / scale}px`, top: `${top / scale}px` });
    canvas.getContext("2d").drawImage(bitmaps[side], 0, 0);
  }
}

// How many screen pixels the browser will really use. Not every browser tells: null then.
export function measured(canvas) {
  return new Promise((resolve) => {
    const observer = new ResizeObserver(([entry]) => {
      observer.disconnect();
      const box = entry.devicePixelContentBoxSize?.[0];
      resolve(box ? { width: box.inlineSize, height: box.blockSize } : null);
    });
    try {
      observer.observe(canvas, { box: "device-pixel-content-box" });
    } catch {
      resolve(null);
    }
  });
}

export async function measuredProblem(canvas) {
  const box = await measured(canvas);
  if (!box || (box.width === canvas.width && box.height === canvas.height)) return null;
  return {
    code: "measured", need: `${canvas.width} × ${canvas.height}`, have: `${box.width} × ${box.height}`,
  };
}

export function viewing() {
  const gamut = ["rec2020", "p3", "srgb"].find((name) => matchMedia(`(color-gamut: ${name})`).matches);
  return {
    screen_width: screen.width, screen_height: screen.height,
    window_width: innerWidth, window_height: innerHeight,
    device_pixel_ratio: devicePixelRatio, pinch_zoom: window.visualViewport?.scale,
    colour_depth: screen.colorDepth, colour_gamut: gamut ?? "",
    browser: navigator.userAgent, language: document.documentElement.lang,
    pixels_verified: "devicePixelContentBoxSize" in ResizeObserverEntry.prototype ? "measured" : "computed",
  };
}

// Millimetres a screen pixel has, from the diagonal in inches; the browser's zoom cancels out.
export function pitch(diagonal) {
  return 25.4 * diagonal / Math.hypot(screen.width * devicePixelRatio, screen.height * devicePixelRatio);
}

export function pixelsPerDegree(pitchMm, distanceMm) {
  return 2 * distanceMm * Math.tan(Math.PI / 360) / pitchMm;
}
