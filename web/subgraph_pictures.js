// The picture that a subgraph of ours exposes, on the classic canvas: the frontend itself shows it in Nodes 2.0 only.
import { app } from "../../scripts/app.js";

const PICTURE = "$$canvas-image-preview"; // the frontend's name of a picture on a node
const SHOWN = "latent-map.pictures";
const LEAST_HEIGHT = 220; // pixels, as the frontend's own pictures have
const MARGIN = 10;

// The nodes inside whose pictures are exposed.
function sources(host) {
  const exposed = host.properties?.previewExposures ?? [];
  const nodes = exposed
    .filter(({ sourcePreviewName }) => sourcePreviewName === PICTURE)
    .map(({ sourceNodeId }) => host.subgraph.getNodeById(sourceNodeId));
  return nodes.filter((node) => node?.type.startsWith("DLM_"));
}

// What came last: the picture of a run going on, which the frontend hangs on the subgraph, or a result inside.
function newest(lists, before) {
  const changed = lists.findLast((images, place) => images?.length && images !== before.lists[place]);
  return changed ?? before.images;
}

function draw(ctx, widget, images, width) {
  const [cell, height] = [(width - 2 * MARGIN) / images.length, widget.computedHeight - MARGIN];
  images.forEach((image, place) => {
    const scale = Math.min(cell / image.naturalWidth, height / image.naturalHeight);
    const [wide, high] = [image.naturalWidth * scale, image.naturalHeight * scale];
    const left = MARGIN + place * cell + (cell - wide) / 2;
    ctx.drawImage(image, left, widget.y + (height - high) / 2, wide, high);
  });
}

function addPictures(host, state) {
  const widget = {
    name: SHOWN,
    type: "custom",
    value: "",
    serialize: false,
    options: { serialize: false, canvasOnly: true },
    computeLayoutSize: () => ({ minHeight: LEAST_HEIGHT, minWidth: 1 }),
    draw: (ctx, node, width) => draw(ctx, widget, state.images, width),
  };
  host.addCustomWidget(widget);
}

function watch(host) {
  const state = { lists: [], images: null };
  const { onDrawForeground } = host;
  host.onDrawForeground = function (...given) {
    onDrawForeground?.apply(this, given);
    const nodes = sources(this);
    if (nodes.length === 0) return;
    const lists = [this.imgs, ...nodes.map((node) => node.imgs)];
    state.images = newest(lists, state);
    state.lists = lists;
    if (state.images && !this.widgets.some(({ name }) => name === SHOWN)) addPictures(this, state);
  };
}

app.registerExtension({
  name: "latent-map.subgraph_pictures",
  nodeCreated(node) {
    if (node.isSubgraphNode?.()) watch(node);
  },
});
