// Draws the chain of gates: what each does, how its time goes, what waits for it, and how stale its gradients are.

import { short } from "./store.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 190, HEIGHT = 118, GAP = 46, ROW = 40;
const CLASS = { computing: "computing", "no free worker": "ready", "waiting for lock": "lock", stuck: "stuck", restarted: "stuck" };
export const KINDS = ["forward", "backward", "update", "evaluation", "lock", "ready", "starved"];

export function add(parent, tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
}

export function drawChain(holder, store, index) {
  const frame = store.frames[index], names = store.gates.filter((name) => frame?.g[name]);
  const columns = Math.max(1, Math.min(names.length, Math.floor((holder.clientWidth + GAP) / (WIDTH + GAP))));
  const rows = Math.ceil(names.length / columns);
  const width = Math.max(columns * (WIDTH + GAP), holder.clientWidth), height = rows * (HEIGHT + ROW) - ROW + 8;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", names.map((name) => `${name}: ${frame.states[name]}`).join(", "));
  names.forEach((name, n) => {
    const x = 2 + (n % columns) * (WIDTH + GAP), y = 2 + Math.floor(n / columns) * (HEIGHT + ROW);
    drawFlow(svg, store, frame, name, x, y, n, columns);
    drawGate(svg, store, index, name, x, y);
  });
  holder.replaceChildren(svg);
}

// The arrow into a gate; as thick as what waits in its mailbox.
function drawFlow(svg, store, frame, name, x, y, n, columns) {
  const waiting = store.of(frame, name, "waiting") ?? 0, thick = 1 + Math.min(16, 2.5 * Math.sqrt(waiting));
  if (n === 0) return;
  const wraps = n % columns === 0;
  const [x0, y0, x1, y1] = wraps ? [x + WIDTH / 2, y - ROW, x + WIDTH / 2, y - 9] : [x - GAP, y + HEIGHT / 2, x - 10, y + HEIGHT / 2];
  add(svg, "line", { class: "flow", x1: x0 + (wraps ? 0 : 3), y1: y0 + (wraps ? 3 : 0), x2: x1, y2: y1, "stroke-width": thick });
  const t = 4 + thick / 2;
  const points = wraps ? `${x1 - t},${y1} ${x1 + t},${y1} ${x1},${y1 + 8}` : `${x1},${y1 - t} ${x1},${y1 + t} ${x1 + 9},${y1}`;
  add(svg, "polygon", { class: "tip", points });
  if (waiting) add(svg, "text", { class: "soft middle", x: (x0 + x1) / 2 + (wraps ? 14 : 0), y: (y0 + y1) / 2 - (wraps ? -4 : 4 + thick / 2) }, waiting);
}

function drawGate(svg, store, index, name, x, y) {
  const frame = store.frames[index], state = frame.states[name] ?? "waiting", style = CLASS[state] ?? "starved";
  const group = add(svg, "g", { "data-gate": name });
  add(group, "rect", { class: "box " + style, x, y, width: WIDTH, height: HEIGHT, rx: 7 });
  add(group, "circle", { class: "dot " + style, cx: x + 13, cy: y + 15, r: 5 });
  add(group, "text", { class: "name", x: x + 24, y: y + 19 }, name);
  add(group, "text", { class: "soft end", x: x + WIDTH - 8, y: y + 19 }, state);
  let left = x + 8;
  for (const [kind, share] of store.shares(index, name)) {
    const wide = share * (WIDTH - 16);
    if (wide > 0.3) add(group, "rect", { class: "seg " + kind, x: left, y: y + 27, width: wide, height: 9 });
    left += wide;
  }
  const busy = store.busy(index, name), rate = store.perSecond(index, name, "version");
  add(group, "text", { class: "soft", x: x + 8, y: y + 50 }, `busy ${(100 * busy).toFixed(0)} %`);
  add(group, "text", { class: "soft end", x: x + WIDTH - 8, y: y + 50 }, rate === null ? "" : `${short(rate)} updates/s`);
  const lr = store.of(frame, name, "rate"), stale = store.staleness(index, name);
  add(group, "text", { class: "soft", x: x + 8, y: y + 65 }, `${store.of(frame, name, "waiting") ?? 0} wait, ${store.of(frame, name, "open")} open`);
  add(group, "text", { class: "soft end", x: x + WIDTH - 8, y: y + 65 }, lr === null ? "" : `lr ${short(lr)}`);
  drawHistogram(group, stale, x + 8, y + 72, WIDTH - 16, 26);
  add(group, "text", { class: "soft", x: x + 8, y: y + 111 }, stale.mean === null ? "no updates" : `staleness ${stale.mean.toFixed(1)}`);
  add(group, "text", { class: "soft end", x: x + WIDTH - 8, y: y + 111 }, `version ${short(store.of(frame, name, "version"))}`);
}

function drawHistogram(group, { counts, total }, x, y, width, height) {
  const step = width / counts.length;
  counts.forEach((count, n) => {
    const tall = total ? (count / total) * height : 0;
    add(group, "rect", { class: "bar", x: x + n * step, y: y + height - tall, width: step - 2, height: tall });
  });
  add(group, "line", { class: "flow", x1: x, y1: y + height + 0.5, x2: x + width, y2: y + height + 0.5, "stroke-width": 1 });
}

// A bar per gate, with figures for all that is more than a sliver.
export function drawShares(holder, store, index) {
  const names = store.gates.filter((name) => store.frames[index]?.g[name]);
  const width = Math.max(300, holder.clientWidth), label = Math.min(110, width / 4), row = 24;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${names.length * row + 44}`);
  names.forEach((name, n) => {
    add(svg, "text", { x: 0, y: n * row + 15 }, name);
    let left = label;
    for (const [kind, share] of store.shares(index, name)) {
      const wide = share * (width - label);
      if (wide > 0.3) add(svg, "rect", { class: "seg " + kind, x: left, y: n * row + 2, width: wide, height: 18 });
      if (wide > 34) add(svg, "text", { class: "middle figure " + kind, x: left + wide / 2, y: n * row + 15 }, `${(100 * share).toFixed(0)}%`);
      left += wide;
    }
  });
  let left = 0, line = 0;
  for (const kind of KINDS) {
    const wide = 24 + kind.length * 7;
    if (left + wide > width) { left = 0; line++; }
    const y = names.length * row + 14 + line * 18;
    add(svg, "rect", { class: "seg " + kind, x: left, y: y - 9, width: 10, height: 10 });
    add(svg, "text", { class: "soft", x: left + 14, y }, kind);
    left += wide;
  }
  holder.replaceChildren(svg);
}
