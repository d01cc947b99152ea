// The frames of a run, as the server folds them; the newest comes by a stream.

export const MOST = 2400; // frames that are kept; every second one goes when there are more

export class Store {
  constructor(changed) {
    this.changed = changed;
    this.frames = [];
    this.state = "connecting";
  }

  async start() {
    try {
      await this.load();
    } catch {
      this.again();
      return;
    }
    const stream = new EventSource("events?mark=" + this.mark.join(","));
    stream.onmessage = (message) => this.take(JSON.parse(message.data));
    // The server may have been started anew, and know other numbers: so everything is read again.
    stream.onerror = () => { stream.close(); this.again(); };
  }

  again() {
    this.state = "off";
    this.changed(this);
    setTimeout(() => this.start(), 1000);
  }

  async load() {
    const answer = await fetch("frames", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    Object.assign(this, await answer.json());
    this.state = "on";
    this.newData = true;
    this.changed(this);
  }

  take(news) {
    this.mark = news.mark;
    this.gates = news.gates;
    this.sentinels = news.sentinels;
    if (news.frame) this.frames.push(news.frame);
    if (this.frames.length > MOST) this.frames = this.frames.filter((_, i) => i % 2);
    for (const [name, rows] of Object.entries(news.losses)) {
      const all = (this.losses[name] ??= []);
      all.push(...rows);
      if (all.length > 2 * MOST) this.losses[name] = all.filter((_, i) => i % 2);
    }
    this.ticks.push(...news.ticks);
    this.reports.push(...news.reports);
    this.newData = true;
    this.changed(this);
  }

  get last() { return this.frames.length - 1; }

  of(frame, name, column) {
    const gate = frame?.g[name];
    if (gate) return gate[this.gate.indexOf(column)];
    return frame?.s[name]?.[this.sentinel.indexOf(column)] ?? null;
  }

  // The frame some seconds before another one, with which it is compared.
  before(index, seconds = 5) {
    let i = Math.max(0, index - 1);
    while (i > 0 && this.frames[index].t - this.frames[i].t < seconds) i--;
    return this.frames[i];
  }

  // What a column that only grows has grown by since then; it begins anew when a gate is restarted.
  growth(index, name, column, seconds) {
    const now = this.of(this.frames[index], name, column) ?? 0;
    const past = this.of(this.before(index, seconds), name, column) ?? 0;
    return now >= past ? now - past : now;
  }

  shares(index, name) {
    const kinds = this.gate.slice(0, 7);
    const spent = kinds.map((kind) => this.growth(index, name, kind));
    const total = spent.reduce((a, b) => a + b, 0);
    return kinds.map((kind, i) => [kind, total ? spent[i] / total : 0]);
  }

  busy(index, name) {
    return this.shares(index, name).slice(0, 4).reduce((sum, [, share]) => sum + share, 0);
  }

  perSecond(index, name, column) {
    const seconds = this.frames[index].t - this.before(index).t;
    return seconds > 0 ? this.growth(index, name, column) / seconds : null;
  }

  staleness(index, name) {
    const counts = this.buckets.concat(Infinity).map((_, n) => this.growth(index, name, "stale" + n, 10));
    const total = counts.reduce((a, b) => a + b, 0);
    return { counts, total, mean: total ? this.growth(index, name, "stale_sum", 10) / total : null };
  }
}

export const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f"];
export const color = (number) => PALETTE[number % PALETTE.length];
export const dash = (number) => [[], [6, 3], [2, 3]][Math.floor(number / PALETTE.length) % 3];

export function clock(seconds) {
  const s = Math.floor(seconds % 60), m = Math.floor(seconds / 60) % 60, h = Math.floor(seconds / 3600);
  return (h ? h + ":" + String(m).padStart(2, "0") : m) + ":" + String(s).padStart(2, "0");
}

export function short(number) {
  if (number === null || number === undefined) return "";
  const size = Math.abs(number);
  if (size >= 1e9) return (number / 1e9).toFixed(1) + "G";
  if (size >= 1e6) return (number / 1e6).toFixed(1) + "M";
  if (size >= 1e4) return (number / 1e3).toFixed(1) + "k";
  return size >= 100 || Number.isInteger(number) ? number.toFixed(0) : number.toPrecision(3);
}
