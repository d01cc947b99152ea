// Wires the page: time that is shown, keys, tables, and changes for those who have the token.

import { drawChain, drawShares } from "./chain.js";
import { Charts } from "./charts.js";
import { Store, clock, short } from "./store.js";

const get = (id) => document.getElementById(id);
let at = null; // the frame that is shown; null follows the run
let playing = null, wanted = false;

const store = new Store(() => ask());
const charts = new Charts(store, seek);

// All drawing happens once per frame of the screen, however much comes.
function ask() {
  if (!wanted) { wanted = true; requestAnimationFrame(draw); }
}

function draw() {
  wanted = false;
  get("link").className = store.state;
  get("link").textContent = store.state === "on" ? "connected" : store.state === "off" ? "no connection; trying again" : "connecting";
  if (!store.frames.length) return;
  if (store.newData) {
    store.newData = false;
    charts.update();
    fillOnce();
  }
  const index = at === null ? store.last : Math.min(at, store.last), frame = store.frames[index];
  get("scrub").max = store.last;
  get("scrub").value = index;
  get("clock").textContent = clock(frame.t);
  get("live").classList.toggle("on", at === null);
  get("play").textContent = playing ? "stop" : "play";
  drawChain(get("chain"), store, index);
  drawShares(get("shares"), store, index);
  fill(get("words"), frame.words.map((text) => element("li", text)));
  fillSentinels(frame, index);
  for (const item of get("ticks").children) item.classList.toggle("later", Number(item.dataset.t) > frame.t);
  charts.mark(frame.t);
  document.body.dataset.frame = index;
}

function element(tag, text) {
  const node = document.createElement(tag);
  node.textContent = text;
  return node;
}

function fill(node, children) {
  const before = [...node.children].map((each) => each.outerHTML).join(), after = children.map((each) => each.outerHTML).join();
  if (before !== after) node.replaceChildren(...children);
}

function row(cells, tag = "td") {
  const line = document.createElement("tr");
  line.append(...cells.map((cell) => element(tag, cell)));
  return line;
}

function fillOnce() {
  const about = store.about ?? {};
  get("title").textContent = about.recipe ? `akkordeon: ${about.recipe}` : "akkordeon";
  get("legend").textContent = "An arrow is as thick as the queue before a gate. Bars: where the last 5 s went, and how stale the updates of the last 10 s were (0, 1, 2, 3, to 5, 8, 13, 21, more).";
  fill(get("ticks"), store.ticks.slice(-200).reverse().map(([t, kind, text]) => {
    const item = document.createElement("li");
    item.dataset.t = t;
    item.append(element("b", clock(t)), element("i", kind), text);
    return item;
  }));
  const places = store.gates.filter((name) => store.places[name]).map((name) => {
    const { host, pid, device } = store.places[name];
    return row([name, host, pid, device]);
  });
  fill(get("places"), [row(["gate", "host", "process", "device"], "th"), ...places]);
  get("act").hidden = !store.acts;
  const names = [...store.gates, ...Object.keys(store.sentinels)];
  if ([...get("who").options].map((each) => each.value).join() !== names.join()) {
    fill(get("who"), names.map((name) => element("option", name)));
  }
}

function fillSentinels(frame, index) {
  const head = row(["sentinel", "epoch", "batch", "loss", "in flight", "samples/s", "again"], "th");
  const lines = Object.keys(store.sentinels).filter((name) => frame.s[name]).map((name) => {
    const of = (column) => store.of(frame, name, column);
    const length = of("length"), batch = length ? `${of("batches")}/${length}` : `${of("batches")}`;
    const loss = of("loss"), rate = index ? store.perSecond(index, name, "samples") : null;
    return row([name, of("epoch"), batch, loss === null ? "" : loss.toFixed(4), `${of("in_flight")} of ${of("window")}`, short(rate), of("resent")]);
  });
  fill(get("sentinels"), [head, ...lines]);
}

function seek(t) {
  let index = store.frames.findIndex((frame) => frame.t >= t);
  go(index < 0 ? store.last : index);
}

function go(index) {
  at = Math.max(0, Math.min(store.last, index));
  ask();
}

function follow() {
  stop();
  at = null;
  ask();
}

function stop() {
  clearInterval(playing);
  playing = null;
}

function play() {
  if (playing) { stop(); ask(); return; }
  let t = store.frames[at ?? 0].t, then = performance.now();
  if (at === null || at >= store.last) t = store.frames[0].t;
  playing = setInterval(() => {
    const now = performance.now();
    t += ((now - then) / 1000) * Number(get("speed").value);
    then = now;
    if (t >= store.frames[store.last].t) { follow(); return; }
    seek(t);
  }, 40);
}

async function act(what) {
  const headers = { "Content-Type": "application/json", Authorization: "Bearer " + get("token").value };
  const answer = await fetch("do", { method: "POST", headers, body: JSON.stringify(what) });
  const found = await answer.json();
  get("answer").textContent = found.error ?? "done";
}

const number = (text) => (text.trim() !== "" && !Number.isNaN(Number(text)) ? Number(text) : text);
const step = (by) => { stop(); go((at ?? store.last) + by); };
get("scrub").addEventListener("input", () => { stop(); go(Number(get("scrub").value)); });
get("back").onclick = () => step(-1);
get("forward").onclick = () => step(1);
get("live").onclick = follow;
get("play").onclick = play;
get("theme").onclick = () => {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  charts.redraw();
  ask();
};
get("act").onsubmit = (event) => {
  event.preventDefault();
  act({ do: "set", name: get("who").value, settings: { [get("key").value]: number(get("value").value) } });
};
get("detach").onclick = () => act({ do: "detach", name: get("who").value });
get("pause").onclick = () => act({ do: "pause" });
get("go").onclick = () => act({ do: "go on" });
for (const each of document.querySelectorAll('input[name="axis"]')) {
  each.onchange = () => { charts.axis = each.value; charts.update(); ask(); };
}
document.addEventListener("keydown", (event) => {
  if (["INPUT", "SELECT"].includes(event.target.tagName) && event.target.id !== "scrub") return;
  const keys = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), " ": play, l: follow, L: follow, Home: () => go(0) };
  if (keys[event.key] && !event.ctrlKey && !event.metaKey) { event.preventDefault(); keys[event.key](); }
});
addEventListener("resize", () => { charts.resize(); ask(); });
document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
store.start();
