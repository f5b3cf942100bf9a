// Pictures, decoded before they are shown; those of the next pair are loaded meanwhile.
import { picture } from "./requests.js";

const loading = new Map(); // address: promise of an ImageBitmap

function load(address) {
  if (!loading.has(address)) {
    const bitmap = picture(address).then(createImageBitmap);
    bitmap.catch(() => loading.delete(address)); // so that it may be tried again
    loading.set(address, bitmap);
  }
  return loading.get(address);
}

export async function both(pictures) {
  const [left, right] = await Promise.all([load(pictures.left), load(pictures.right)]);
  return { left, right };
}

// Load what comes next, forget what is no longer needed.
export function prepare(current, next) {
  const wanted = [current, next].filter(Boolean).flatMap(({ left, right }) => [left, right]);
  for (const [address, bitmap] of loading) {
    if (wanted.includes(address)) continue;
    loading.delete(address);
    bitmap.then((each) => each.close(), () => {});
  }
  if (next) both(next).catch(() => {});
}
