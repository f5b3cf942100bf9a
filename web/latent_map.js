// Toggles that govern other widgets, workflows saved before there were any, and what a node says of its run.
import { app } from "../../scripts/app.js";

const SAID = "said";

const inputsOf = ({ input }) => ({ ...input.required, ...input.optional });

function togglesOf(nodeData) {
  const inputs = Object.entries(inputsOf(nodeData));
  return inputs.filter(([, spec]) => spec[1]?.governs).map(([name, spec]) => [name, spec[1].governs]);
}

const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);

// What a governed widget shows while its toggle is off: the preset's value, where presets have one.
function ordinary(node, nodeData, name) {
  const inputs = inputsOf(nodeData);
  const presets = inputs.preset?.[1]?.presets ?? {};
  return presets[widgetOf(node, "preset")?.value]?.[name] ?? inputs[name][1].default;
}

// A file of before holds no value for a toggle, and says "off" by a number.
function translate(node, nodeData, saved) {
  for (const [toggle, governed] of togglesOf(nodeData)) {
    const place = node.widgets.findIndex((widget) => widget.name === toggle);
    if (place < saved.length) continue;
    const isSaved = ([name]) => node.widgets.findIndex((widget) => widget.name === name) < saved.length;
    const widgets = Object.entries(governed).filter(isSaved).map(([name, off]) => [widgetOf(node, name), name, off]);
    if (widgets.length === 0) continue;
    const linked = (name) => node.inputs?.some((slot) => slot.widget?.name === name && slot.link != null);
    node.widgets[place].value = widgets.some(([widget, name, off]) => widget?.value !== off || linked(name));
    for (const [widget, name, off] of widgets) {
      if (widget?.value === off) widget.value = ordinary(node, nodeData, name);
    }
  }
}

const decidedByPreset = (nodeData, name) =>
  Object.values(inputsOf(nodeData).preset?.[1]?.presets ?? {}).some((values) => name in values);

// What a preset decides shows the preset's value; what else does not count is grey.
function settle(node, nodeData) {
  for (const [toggle, governed] of togglesOf(nodeData)) {
    const on = Boolean(widgetOf(node, toggle)?.value);
    for (const name of Object.keys(governed)) {
      const widget = widgetOf(node, name);
      if (!widget) continue;
      const preset = decidedByPreset(nodeData, name);
      widget.disabled = !on && !preset;
      if (!on && preset) widget.value = ordinary(node, nodeData, name);
    }
  }
}

function afterCallback(widget, act) {
  if (!widget) return;
  const { callback } = widget;
  widget.callback = function (...given) {
    const result = callback?.apply(this, given);
    act();
    return result;
  };
}

function watch(node, nodeData) {
  afterCallback(widgetOf(node, "preset"), () => settle(node, nodeData));
  for (const [toggle, governed] of togglesOf(nodeData)) {
    afterCallback(widgetOf(node, toggle), () => settle(node, nodeData));
    for (const name of Object.keys(governed)) {
      const widget = widgetOf(node, name);
      // Who changes a value wants it to count.
      afterCallback(widget, () => {
        if (widget.value !== ordinary(node, nodeData, name)) widgetOf(node, toggle).value = true;
        settle(node, nodeData);
      });
    }
  }
  settle(node, nodeData);
}

// What the node says, under its widgets; neither saved nor sent.
function say(node, text) {
  let widget = widgetOf(node, SAID);
  if (!widget) {
    const element = document.createElement("textarea");
    element.readOnly = true;
    element.style.cssText =
      "width:100%; height:100%; min-height:84px; resize:none; border:0; opacity:.85; "
      + "font:11px monospace; color:inherit; background:transparent";
    const options = { serialize: false, hideOnZoom: false, getMinHeight: () => 84 };
    widget = node.addDOMWidget(SAID, "LATENT_MAP_TEXT", element, options);
    widget.serialize = false;
    widget.label = " ";
    const [width, height] = node.size;
    node.setSize([width, Math.max(height, node.computeSize()[1])]);
  }
  widget.element.value = text;
}

function after(prototype, name, act) {
  const before = prototype[name];
  prototype[name] = function (...given) {
    const result = before?.apply(this, given);
    act(this, ...given);
    return result;
  };
}

app.registerExtension({
  name: "latent-map.widgets",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("DLM_")) return;
    const { prototype } = nodeType;
    after(prototype, "onNodeCreated", (node) => watch(node, nodeData));
    after(prototype, "onConfigure", (node, info) => {
      if (Array.isArray(info?.widgets_values)) translate(node, nodeData, info.widgets_values);
      settle(node, nodeData);
    });
    after(prototype, "onExecuted", (node, output) => {
      if (output?.text?.length) say(node, output.text.join("\n"));
    });
  },
});
