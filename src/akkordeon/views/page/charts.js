// The charts: one line per gate or sentinel over time, with a tick for all that happened and a mark for the time shown.

import { clock, color, dash, short } from "./store.js";

const HEIGHT = 190;
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

export class Charts {
  constructor(store, seek) {
    this.store = store;
    this.seek = seek;
    this.plots = new Map();
    this.axis = "seconds";
  }

  names(kind) { return kind === "gates" ? this.store.gates : Object.keys(this.store.sentinels); }

  update() {
    const { store } = this, t = store.frames.map((frame) => frame.t);
    const over = (names, value) => [t, ...names.map((name) => store.frames.map((frame, i) => value(frame, i, name)))];
    const gates = store.gates, sentinels = Object.keys(store.sentinels);
    const column = (name) => (frame, _, who) => store.of(frame, who, name);
    const there = (frame, who) => frame.g[who] || frame.s[who];
    this.show("rate", sentinels, over(sentinels, (f, i, who) => (there(f, who) && i ? store.perSecond(i, who, "samples") : null)));
    this.show("busy", gates, over(gates, (f, i, who) => (there(f, who) && i ? store.busy(i, who) : null)), { range: [0, 1] });
    this.show("stale", gates, over(gates, (f, i, who) => (there(f, who) ? store.staleness(i, who).mean : null)));
    this.show("wait", gates, over(gates, (f, i, who) => { const w = store.of(f, who, "wait_p95"); return w === null ? null : 1000 * w; }));
    this.show("flight", sentinels, over(sentinels, column("in_flight")));
    const all = [...gates, ...sentinels], places = this.byProcess(all);
    this.show("memory", Object.keys(places), over(Object.keys(places), (f, _, place) => {
      const found = places[place].map((who) => store.of(f, who, "memory")).filter((each) => each !== null);
      return found.length ? Math.max(...found) / 1e6 : null;
    }));
    this.showLoss(sentinels);
  }

  byProcess(names) {
    const places = {};
    for (const name of names) {
      const place = this.store.places[name];
      (places[place ? `${place.host} ${place.pid}` : "unknown"] ??= []).push(name);
    }
    return places;
  }

  showLoss(sentinels) {
    const { store } = this, tables = [], names = [], points = [];
    sentinels.forEach((name) => {
      const batches = store.losses[name] ?? [], reports = store.reports.filter((each) => each.sentinel === name && each.loss !== null);
      const rows = batches.length ? smooth(batches) : reports.map((each) => [each.t, this.samplesAt(each.t), each.loss]);
      if (!rows.length) return;
      names.push(name);
      points.push(!batches.length);
      tables.push([rows.map((row) => row[this.axis === "seconds" ? 0 : 1]), rows.map((row) => row[2])]);
    });
    if (!names.length) return;
    // Batches that came back between two frames share a time, and uPlot wants each x once.
    const data = uPlot.join(tables.map(([x, y]) => once(x, y)));
    this.show("loss", names, data, { points, samples: this.axis === "samples" });
  }

  // How many samples the training sentinels had seen at a time, for events and validations on that axis.
  samplesAt(t) {
    const training = Object.keys(this.store.sentinels).filter((name) => this.store.sentinels[name] === "train");
    let found = 0;
    for (const frame of this.store.frames) {
      if (frame.t > t) break;
      const sum = training.reduce((total, name) => total + (this.store.of(frame, name, "samples") ?? 0), 0);
      found = Math.max(found, sum);
    }
    return found;
  }

  show(id, names, data, options = {}) {
    const holder = document.getElementById(id), key = names.join() + options.samples + document.documentElement.dataset.theme;
    let plot = this.plots.get(id);
    if (plot && plot.key === key) {
      plot.setData(data);
    } else {
      plot?.destroy();
      plot = new uPlot(this.options(id, holder, names, options), data, holder);
      plot.key = key;
      plot.samples = options.samples;
      plot.mark = document.createElement("div");
      plot.mark.className = "at";
      plot.over.appendChild(plot.mark);
      this.plots.set(id, plot);
    }
  }

  options(id, holder, names, { range, points = [], samples = false }) {
    const line = { stroke: style("--soft"), grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line") }, font: "11px system-ui, sans-serif" };
    return {
      width: holder.clientWidth, height: HEIGHT,
      scales: { x: { time: false }, y: range ? { range } : { range: (_, low, high) => (low === high ? [low - 1, high + 1] : uPlot.rangeNum(low, high, 0.1, true)) } },
      axes: [
        { ...line, values: (_, all) => all.map((each) => (samples ? short(each) : clock(each))) },
        { ...line, size: 54, values: (_, all) => all.map(short) },
      ],
      series: [{ label: samples ? "samples" : "time", value: (_, x) => (x === null ? "" : samples ? short(x) : clock(x)) },
        ...names.map((name, n) => ({ label: name, stroke: color(n), dash: dash(n), width: 1.5, spanGaps: true, points: { show: points[n] ?? false, size: 6 }, value: (_, y) => short(y) }))],
      cursor: { drag: { x: false, y: false } },
      hooks: {
        draw: [(plot) => this.drawTicks(plot)],
        ready: [(plot) => plot.over.addEventListener("click", () => samples || this.seek(plot.posToVal(plot.cursor.left, "x")))],
      },
    };
  }

  drawTicks(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.lineWidth = 1;
    for (const [t, kind] of this.store.ticks) {
      const x = plot.valToPos(plot.samples ? this.samplesAt(t) : t, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.strokeStyle = ["restart", "failure", "alarm"].includes(kind) ? "#d55e00" : style("--soft");
      ctx.setLineDash(["restart", "failure", "alarm"].includes(kind) ? [] : [2, 4]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  // Move the marks alone: this is done for each frame that is scrubbed over.
  mark(t) {
    for (const plot of this.plots.values()) {
      const x = plot.valToPos(plot.samples ? this.samplesAt(t) : t, "x"), inside = x >= 0 && x <= plot.over.clientWidth;
      plot.mark.style.cssText = `left:${x}px;height:100%;display:${inside ? "block" : "none"}`;
    }
  }

  resize() {
    for (const [id, plot] of this.plots) plot.setSize({ width: document.getElementById(id).clientWidth, height: HEIGHT });
  }

  redraw() {
    this.plots.forEach((plot) => plot.destroy());
    this.plots.clear();
    this.update();
  }
}

// An exponential mean over some twenty batches: single ones say little.
function smooth(rows) {
  let mean = rows[0][2];
  return rows.map(([t, samples, loss]) => [t, samples, (mean += 0.1 * (loss - mean))]);
}

function once(x, y) {
  const found = new Map();
  x.forEach((each, i) => found.set(each, y[i]));
  const sorted = [...found].sort((a, b) => a[0] - b[0]);
  return [sorted.map((each) => each[0]), sorted.map((each) => each[1])];
}
