// Draws tables, learning curves and parallel coordinates from the JSON in #data. Nothing here makes HTML of text: text goes into
// the page by textContent only, and addresses were made by the program that wrote this file.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const store = "ksweep " + location.pathname;
const memory = (() => { try { return JSON.parse(sessionStorage.getItem(store)) || {}; } catch { return {}; } })();
const remember = () => { try { sessionStorage.setItem(store, JSON.stringify(memory)); } catch { /* a browser that keeps nothing */ } };

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// ---- navigation
for (const heading of document.querySelectorAll("main > section[id] > h2")) {
  const section = heading.parentElement;
  const is_empty = (section.id === "curves" && !data.curves) || (section.id === "parallel" && !data.parallel);
  if (!is_empty) byId("nav").append(make("a", { href: "#" + section.id, textContent: heading.textContent }));
}

// ---- tables: sorted by a click on a header, filtered by words and conditions, drawn a part at a time
const ROWS_AT_A_TIME = 200;
const collator = new Intl.Collator(undefined, { numeric: true });
const OPERATORS = {
  "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "=": (a, b) => a === b,
  "!=": (a, b) => a !== b,
};

const shown = (cell, column) => (cell === null ? "-" : Array.isArray(cell) ? (column.kind === "link" ? cell[0] : cell[1]) : String(cell));
function valueOf(cell, column) {  // what a cell is sorted and compared by
  const value = Array.isArray(cell) ? cell[0] : cell;
  return value === null || column.kind !== "num" ? value : Number(value);
}

// `lr<0.01 adamw "two words"`: every part has to hold. Gives {test(row), wrong: what is not understood}.
function parseFilter(text, columns) {
  const joined = text.replace(/\s*(<=|>=|!=|==|=|<|>)\s*/g, "$1");
  const parts = joined.match(/"[^"]*"?|[^\s"]+(?:"[^"]*"?)?/g) || [];
  const tests = [], wrong = [];
  for (const part of parts) {
    const match = part.match(/^([^<>=!"]+)(<=|>=|!=|==|=|<|>)"?(.*?)"?$/);
    if (!match) {
      const word = part.replaceAll('"', "").toLowerCase();
      tests.push((row) => columns.some((column, i) => row[i] !== null &&
        (shown(row[i], column).toLowerCase().includes(word) || String(Array.isArray(row[i]) ? row[i][0] : row[i]).toLowerCase().includes(word))));
      continue;
    }
    const name = match[1].replace(/^CONFIG_/i, "").toLowerCase();
    const index = columns.findIndex((column) => column.title.replace(/\s+/g, " ").toLowerCase() === name);
    const operator = OPERATORS[match[2] === "==" ? "=" : match[2]];
    if (index < 0) { wrong.push("no column " + match[1]); continue; }
    if (match[3] === "") { wrong.push(part + ": a value is missing"); continue; }
    const column = columns[index];
    if (column.kind === "num") {
      const limit = match[3].endsWith("%") ? Number(match[3].slice(0, -1)) / 100 : Number(match[3]);
      if (Number.isNaN(limit)) { wrong.push(part + ": not a number"); continue; }
      tests.push((row) => row[index] !== null && operator(valueOf(row[index], column), limit));
    } else {
      const order = (row) => collator.compare(shown(row[index], column).toLowerCase(), match[3].toLowerCase());
      tests.push((row) => row[index] !== null && operator(order(row), 0));
    }
  }
  return { test: (row) => tests.every((test) => test(row)), wrong };
}

class DataTable {
  constructor(place, name, { columns, rows }, onPick) {
    Object.assign(this, { name, columns, rows, onPick, extra: null, picked: null });
    this.memory = memory[name] ||= { filter: "", sort: null, down: false };
    if (this.memory.sort >= columns.length) this.memory.sort = null;
    this.input = make("input", { type: "search", id: name + "-filter", value: this.memory.filter, spellcheck: false, autocomplete: "off" });
    this.input.placeholder = "filter: words, or " + this.example();
    this.input.setAttribute("aria-label", "Filter " + name);
    this.status = make("span", { className: "status" });
    this.status.setAttribute("role", "status");
    this.head = make("tr");
    this.body = make("tbody");
    this.box = make("div", { className: "box", tabIndex: 0 }, make("table", {}, make("thead", {}, this.head), this.body));
    this.box.setAttribute("role", "region");
    this.box.setAttribute("aria-label", "Table of " + name);
    place.append(make("div", { className: "controls" }, this.input, this.status), this.box);
    columns.forEach((column, index) => this.addHeader(column, index));
    this.input.addEventListener("input", () => { this.memory.filter = this.input.value; remember(); this.refresh(); });
    this.box.addEventListener("scroll", () => {
      if (this.box.scrollTop + this.box.clientHeight > this.box.scrollHeight - 400) this.drawMore();
    });
    this.refresh();
  }
  example() {
    const column = this.columns.find((c) => c.kind === "num" && /^[A-Z_0-9]+$/.test(c.title)) || this.columns.find((c) => c.kind === "num");
    const index = this.columns.indexOf(column);
    const row = column && this.rows.find((r) => r[index] !== null);
    return row ? `${column.title}<=${Number(valueOf(row[index], column).toPrecision(3))}` : "status=passed";
  }
  addHeader(column, index) {
    const button = make("button", { type: "button" }, column.title.replaceAll("_", "_\u200b"));
    if (column.note) button.append(make("small", { textContent: column.note }));
    button.addEventListener("click", () => {
      const m = this.memory;
      if (m.sort !== index) { m.sort = index; m.down = false; } else if (!m.down) m.down = true; else { m.sort = null; m.down = false; }
      remember();
      this.refresh();
    });
    const th = make("th", { scope: "col", className: column.kind }, button);
    this.head.append(th);
  }
  refresh() {
    const { sort, down } = this.memory;
    const filter = parseFilter(this.memory.filter, this.columns);
    this.order = this.rows.map((_, i) => i).filter((i) => filter.test(this.rows[i]) && (!this.extra || this.extra(i)));
    if (sort !== null) this.order.sort((a, b) => this.compare(a, b, sort, down));
    [...this.head.children].forEach((th, i) => {
      if (i === sort) th.setAttribute("aria-sort", down ? "descending" : "ascending"); else th.removeAttribute("aria-sort");
    });
    this.body.replaceChildren();
    this.drawn = 0;
    this.box.scrollTop = 0;
    this.drawMore();
    this.wrong = filter.wrong;
    this.tell();
  }
  compare(a, b, index, down) {  // what is missing comes last, whichever way
    const [x, y] = [a, b].map((row) => valueOf(this.rows[row][index], this.columns[index]));
    if (x === null || y === null) return (x === null) - (y === null);
    return (typeof x === "number" && typeof y === "number" ? x - y : collator.compare(x, y)) * (down ? -1 : 1);
  }
  drawMore() {
    const next = this.order.slice(this.drawn, this.drawn + ROWS_AT_A_TIME);
    this.body.append(...next.map((row) => this.drawRow(row)));
    this.drawn += next.length;
    this.tell();
  }
  drawRow(index) {
    const tr = make("tr", {}, ...this.columns.map((column, i) => this.drawCell(this.rows[index][i], column)));
    tr.dataset.row = index;
    if (this.onPick) {
      tr.className = index === this.picked ? "pickable picked" : "pickable";
      tr.addEventListener("click", (event) => { if (!event.target.closest("a")) this.pick(index === this.picked ? null : index); });
    }
    return tr;
  }
  drawCell(cell, column) {
    const text = shown(cell, column);
    const td = make("td", { className: column.kind + (text.length > 40 ? " long" : "") });
    if (text.length > 40) td.title = text;
    if (column.title === "status") td.classList.add(text);
    td.append(column.kind === "link" && cell !== null ? make("a", { href: cell[1], textContent: text }) : text);
    return td;
  }
  pick(index) {
    this.picked = index;
    for (const tr of this.body.children) tr.classList.toggle("picked", Number(tr.dataset.row) === index);
    this.onPick(index);
  }
  tell() {
    const part = this.drawn < this.order.length ? ", scroll for more" : "";
    const count = this.order.length === this.rows.length ? `${this.rows.length} rows` : `${this.order.length} of ${this.rows.length} rows`;
    const wrong = this.wrong && this.wrong.length ? `; ${this.wrong.join("; ")}` : "";
    this.status.classList.toggle("wrong", Boolean(wrong));
    this.status.textContent = count + part + wrong;
  }
}

// ---- what both charts share
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
const settingColumns = data.settings.columns;
function settingName(index) {  // what a setting is called: its swept values, else its configs
  const row = data.settings.rows[index];
  const swept = settingColumns.map((column, i) => [column.title, row[i]]).filter(([title, cell]) => data.swept.includes(title) && cell !== null);
  const rank = row[0] === null ? "" : `${settingColumns[0].title} ${row[0]}: `;
  return rank + (swept.map(([title, cell]) => `${title}=${cell}`).join(" ") || shown(row[settingColumns.length - 2], {}));
}
const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function canvasOf(place) {  // a drawing area in CSS pixels, sharp on any screen
  const canvas = place.querySelector("canvas");
  const { width, height } = canvas.getBoundingClientRect();
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.font = "12px system-ui, sans-serif";
  return { pen, width, height };
}
function niceTicks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((k) => k * power).find((k) => k >= raw) || raw;
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9 && ticks.length < 50; tick += step) ticks.push(Math.abs(tick) < step * 1e-9 ? 0 : tick);
  return ticks;
}
function showTip(tip, text, x, y, width) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  tip.style.left = Math.max(0, Math.min(x + 14, width - tip.offsetWidth)) + "px";
  tip.style.top = Math.max(0, y - tip.offsetHeight - 10) + "px";
}
const number = (value, is_share) => (is_share ? (100 * value).toFixed(2) + "%" : String(Number(value.toPrecision(5))));
let picked = null;  // the setting that was clicked in its table

// ---- learning curves
class Curves {
  constructor(curves) {
    this.curves = curves;
    this.place = byId("curves-chart");
    this.tip = this.place.querySelector(".tip");
    this.memory = memory.curves ||= { metric: 0, log: false, off: [], zoom: null };
    if (this.memory.metric >= curves.metrics.length) Object.assign(this.memory, { metric: 0, zoom: null });
    const settings = [...new Set(curves.runs.map((run) => run.setting))];
    this.coloured = new Map(settings.slice(0, COLOURS.length).map((setting, i) => [setting, COLOURS[i]]));
    curves.metrics.forEach((metric, i) => byId("metric").append(make("option", { value: i, textContent: metric.name, selected: i === this.memory.metric })));
    byId("log").checked = this.memory.log;
    byId("metric").addEventListener("change", (event) => this.set({ metric: Number(event.target.value), zoom: null }));
    byId("log").addEventListener("change", (event) => this.set({ log: event.target.checked, zoom: null }));
    byId("whole").addEventListener("click", () => this.set({ zoom: null }));
    const others = settings.length - this.coloured.size;
    const hint = "Point at a curve for its run; drag to zoom, click a setting below to hide it.";
    byId("curves-note").textContent = [hint, curves.note, others > 0 ? `In colour: the first ${this.coloured.size} settings; grey: ${others} others.` : ""].join(" ");
    this.drawLegend(others);
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.place);
  }
  set(change) { Object.assign(this.memory, change); remember(); this.draw(); }
  drawLegend(others) {
    const entries = [...this.coloured].map(([setting, colour]) => [setting, colour, settingName(setting)]);
    if (others > 0) entries.push([-1, style("--soft"), `${others} others`]);
    for (const [setting, colour, name] of entries) {
      const line = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      line.setAttribute("viewBox", "0 0 28 10");
      const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      for (const [key, value] of Object.entries({ y: 3, width: 28, height: 4, fill: colour })) bar.setAttribute(key, value);
      line.append(bar);
      const button = make("button", { type: "button" }, line, name);
      button.setAttribute("aria-pressed", !this.memory.off.includes(setting));
      button.addEventListener("click", () => {
        const is_off = this.memory.off.includes(setting);
        button.setAttribute("aria-pressed", is_off);
        this.set({ off: is_off ? this.memory.off.filter((other) => other !== setting) : [...this.memory.off, setting] });
      });
      byId("curves-legend").append(make("li", {}, button));
    }
  }
  visible() {
    return this.curves.runs.filter((run) => !this.memory.off.includes(this.coloured.has(run.setting) ? run.setting : -1));
  }
  value(run, i) {
    const y = run.y[this.memory.metric][i];
    return y === null || (this.memory.log && y <= 0) ? null : this.memory.log ? Math.log10(y) : y;
  }
  limits(runs) {  // all of x; of y what the coloured curves need after the first tenth, so that a wild start squeezes nothing
    if (this.memory.zoom) return this.memory.zoom;
    const main = runs.filter((run) => this.coloured.has(run.setting));
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const run of runs) { x0 = Math.min(x0, run.x[0]); x1 = Math.max(x1, run.x.at(-1)); }
    for (const run of main.length ? main : runs) {
      run.x.forEach((x, i) => {
        const y = this.value(run, i);
        if (y !== null && (x >= x0 + (x1 - x0) / 10 || run.x.length < 4)) { y0 = Math.min(y0, y); y1 = Math.max(y1, y); }
      });
    }
    if (!(y1 >= y0)) [y0, y1] = [0, 1];
    if (!(x1 >= x0)) [x0, x1] = [0, 1];
    const pad = (y1 - y0) * 0.06 || Math.abs(y1) * 0.05 || 0.5;
    const edge = (x1 - x0) * 0.02 || 0.5;
    return [x0 - edge, x1 + edge, y0 - pad, y1 + pad];
  }
  draw() {
    const runs = this.visible();
    const { pen, width, height } = canvasOf(this.place);
    const [x0, x1, y0, y1] = this.limits(runs);
    const left = 62, right = width - 10, top = 12, bottom = height - 40;
    this.area = { left, right, top, bottom, x0, x1, y0, y1, width };
    this.toX = (x) => left + ((x - x0) / (x1 - x0)) * (right - left);
    this.toY = (y) => bottom - ((y - y0) / (y1 - y0)) * (bottom - top);
    this.drawAxes(pen);
    pen.save();
    pen.beginPath();
    pen.rect(left, top, right - left, bottom - top);
    pen.clip();
    const grey = runs.filter((run) => !this.coloured.has(run.setting));
    const strong = runs.filter((run) => this.coloured.has(run.setting)).reverse();  // the best on top
    for (const run of grey) this.drawCurve(pen, run, style("--soft"), 0.8, Math.max(0.12, Math.min(0.5, 30 / grey.length)));
    for (const run of strong) this.drawCurve(pen, run, this.coloured.get(run.setting), 1.6, 0.9);
    for (const run of runs.filter((r) => r === this.near || r.setting === picked)) this.drawCurve(pen, run, this.coloured.get(run.setting) || style("--ink"), 3, 1);
    if (this.dragged) {
      const { x, y, toX, toY } = this.dragged;
      pen.fillStyle = style("--link");
      pen.globalAlpha = 0.15;
      pen.fillRect(x, y, toX - x, toY - y);
    }
    pen.restore();
    byId("whole").hidden = !this.memory.zoom;
  }
  drawAxes(pen) {
    const { left, right, top, bottom, x0, x1, y0, y1, width } = this.area;
    const metric = this.curves.metrics[this.memory.metric];
    pen.fillStyle = style("--soft");
    pen.strokeStyle = style("--line");
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    const ticks = niceTicks(y0, y1, 6), step = 100 * (ticks[1] - ticks[0]);
    const digits = [0, 1, 2, 3].find((d) => Math.abs(Math.round(step * 10 ** d) / 10 ** d - step) < 1e-6 * step) ?? 4;  // no tick is rounded
    for (const tick of ticks) {
      const y = this.toY(tick), value = this.memory.log ? 10 ** tick : tick;
      pen.beginPath(); pen.moveTo(left, y); pen.lineTo(right, y); pen.stroke();
      pen.fillText(metric.share && !this.memory.log ? (100 * value).toFixed(digits) + "%" : String(Number(value.toPrecision(4))), left - 6, y);
    }
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const tick of niceTicks(x0, x1, width < 500 ? 4 : 8)) if (tick >= x0) pen.fillText(String(Number(tick.toPrecision(6))), this.toX(tick), bottom + 6);
    pen.fillText(this.curves.time, (left + right) / 2, bottom + 22);
    pen.textAlign = "left";
    pen.strokeRect(left, top, right - left, bottom - top);
  }
  drawCurve(pen, run, colour, width, alpha) {
    Object.assign(pen, { strokeStyle: colour, fillStyle: colour, lineWidth: width, globalAlpha: alpha });
    pen.beginPath();
    let is_down = false, count = 0, at = null;
    run.x.forEach((x, i) => {
      const y = this.value(run, i);
      if (y === null) { is_down = false; return; }
      at = [this.toX(x), this.toY(y)];
      if (is_down) pen.lineTo(...at); else pen.moveTo(...at);
      is_down = true;
      count += 1;
    });
    pen.stroke();
    if (count === 1) { pen.beginPath(); pen.arc(...at, 3, 0, 7); pen.fill(); }  // a line of one point would be invisible
    if (at && ["pruned", "failed", "oom", "diverged", "timeout", "crashed"].includes(run.status)) {
      pen.beginPath();
      pen.moveTo(at[0] - 3, at[1] - 3); pen.lineTo(at[0] + 3, at[1] + 3); pen.moveTo(at[0] - 3, at[1] + 3); pen.lineTo(at[0] + 3, at[1] - 3);
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }
  nearest(px, py) {  // the run whose line is next to a place, and which of its reports is
    let best = null, least = 24;
    for (const run of this.visible()) {
      let before = null;
      for (let i = 0; i < run.x.length; i += 1) {
        const y = this.value(run, i);
        if (y === null) { before = null; continue; }
        const at = [this.toX(run.x[i]), this.toY(y)];
        const [ax, ay] = before || at, length = (at[0] - ax) ** 2 + (at[1] - ay) ** 2;
        const share = length ? Math.max(0, Math.min(1, ((px - ax) * (at[0] - ax) + (py - ay) * (at[1] - ay)) / length)) : 1;
        let distance = Math.hypot(ax + share * (at[0] - ax) - px, ay + share * (at[1] - ay) - py);
        if (this.coloured.has(run.setting)) distance *= 0.75;
        if (distance < least) { least = distance; best = { run, i: before && share < 0.5 ? i - 1 : i }; }
        before = at;
      }
    }
    return best;
  }
  point(x, y) {  // name what is there
    const found = this.nearest(x, y);
    const before = this.near;
    this.near = found && found.run;
    if (before !== this.near) this.draw();
    if (!found) { showTip(this.tip, ""); return; }
    const { run, i } = found, metric = this.curves.metrics[this.memory.metric];
    const line = `${metric.name} ${number(run.y[this.memory.metric][i], metric.share)} at ${this.curves.time} ${run.x[i]}`;
    showTip(this.tip, `${run.config} (${run.status})\n${settingName(run.setting)}\n${line}`, x, y, this.area.width);
  }
  listen() {
    const canvas = this.place.querySelector("canvas");
    const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    canvas.addEventListener("pointerdown", (event) => {
      const [x, y] = at(event);
      if (event.pointerType === "touch") { this.point(x, y); return; }  // a finger scrolls the page
      this.dragged = { x, y, toX: x, toY: y };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = at(event);
      if (this.dragged) { Object.assign(this.dragged, { toX: x, toY: y }); this.draw(); return; }
      this.point(x, y);
    });
    canvas.addEventListener("pointerup", () => {
      const drag = this.dragged;
      this.dragged = null;
      if (!drag) return;
      if (Math.abs(drag.toX - drag.x) < 8 || Math.abs(drag.toY - drag.y) < 8) { this.draw(); return; }
      const { left, right, top, bottom, x0, x1, y0, y1 } = this.area;
      const back = (p) => x0 + ((Math.min(Math.max(p, left), right) - left) / (right - left)) * (x1 - x0);
      const up = (p) => y0 + ((bottom - Math.min(Math.max(p, top), bottom)) / (bottom - top)) * (y1 - y0);
      const [a, b] = [back(drag.x), back(drag.toX)].sort((p, q) => p - q), [c, d] = [up(drag.y), up(drag.toY)].sort((p, q) => p - q);
      if (a < b && c < d) this.set({ zoom: [a, b, c, d] });
    });
    canvas.addEventListener("pointerleave", () => { if (!this.dragged) { this.near = null; showTip(this.tip, ""); this.draw(); } });
    canvas.addEventListener("dblclick", () => this.set({ zoom: null }));
  }
}

// ---- parallel coordinates
class Parallel {
  constructor({ axes, lines }, onChange) {
    Object.assign(this, { axes, lines, onChange });
    this.place = byId("parallel-chart");
    this.tip = this.place.querySelector(".tip");
    const names = axes.map((axis) => axis.name);
    this.kept = memory.parallel ||= {};  // name of an axis -> [low, high]
    for (const name of Object.keys(this.kept)) if (!names.includes(name)) delete this.kept[name];
    this.place.style.minWidth = 90 * axes.length + 60 + "px";
    byId("parallel-clear").addEventListener("click", () => { for (const name of names) delete this.kept[name]; this.changed(); });
    this.listen();
    this.tell();
    new ResizeObserver(() => this.draw()).observe(this.place);
  }
  has(line) {
    return this.axes.every(({ name }, i) => !this.kept[name] || (line.at[i] >= this.kept[name][0] && line.at[i] <= this.kept[name][1]));
  }
  changed() { remember(); this.tell(); this.draw(); }
  tell() {
    const inside = this.lines.filter((line) => this.has(line));
    const is_cut = Object.keys(this.kept).length > 0;
    byId("parallel-clear").hidden = !is_cut;
    const ends = isDark() ? "blue the worst, yellow the best" : "green the worst, violet the best";
    byId("parallel-count").textContent = (is_cut ? `${inside.length} of ${this.lines.length} settings are inside` : `${this.lines.length} settings`) + `; ${ends}`;
    const settings = new Set(inside.map((line) => line.setting));
    this.onChange(is_cut ? (index) => settings.has(index) : null);
  }
  toX(i) { return this.axes.length === 1 ? this.width / 2 : 60 + (i * (this.width - 120)) / (this.axes.length - 1); }
  toY(at) { return this.height - 18 - at * (this.height - 58); }
  draw() {
    const { pen, width, height } = canvasOf(this.place);
    Object.assign(this, { pen, width, height });
    const strong = this.lines.filter((line) => this.has(line));
    const weak = this.lines.filter((line) => !this.has(line));
    for (const line of weak) this.drawLine(line, style("--line"), 1, 0.6);
    for (const line of [...strong].reverse()) this.drawLine(line, this.colour(line.good), 1.3, Math.max(0.25, Math.min(0.9, 60 / strong.length)));
    for (const line of this.lines.filter((l) => l === this.near || l.setting === picked)) this.drawLine(line, COLOURS[1], 3, 1);
    this.axes.forEach((axis, i) => this.drawAxis(axis, i));
  }
  colour(good) {  // viridis without the end that is lost on the ground
    const stops = isDark() ? [[59, 82, 139], [33, 145, 140], [94, 201, 98], [180, 222, 44], [253, 231, 37]]
      : [[190, 215, 50], [94, 201, 98], [33, 145, 140], [59, 82, 139], [68, 1, 84]];
    const place = good * 4, i = Math.min(3, Math.floor(place));
    return `rgb(${stops[i].map((low, k) => Math.round(low + (stops[i + 1][k] - low) * (place - i))).join(",")})`;
  }
  drawLine(line, colour, width, alpha) {
    const { pen } = this;
    Object.assign(pen, { strokeStyle: colour, lineWidth: width, globalAlpha: alpha });
    pen.beginPath();
    line.at.forEach((at, i) => (i ? pen.lineTo(this.toX(i), this.toY(at)) : pen.moveTo(this.toX(i), this.toY(at))));
    if (line.at.length === 1) { pen.moveTo(this.toX(0) - 12, this.toY(line.at[0])); pen.lineTo(this.toX(0) + 12, this.toY(line.at[0])); }
    pen.stroke();
    pen.globalAlpha = 1;
  }
  drawAxis(axis, i) {
    const { pen } = this, x = this.toX(i), room = this.axes.length > 1 ? this.toX(1) - this.toX(0) - 8 : 200;
    Object.assign(pen, { strokeStyle: style("--soft"), lineWidth: 1, textAlign: "center", textBaseline: "alphabetic" });
    pen.beginPath(); pen.moveTo(x, this.toY(0)); pen.lineTo(x, this.toY(1)); pen.stroke();
    this.write(axis.name, x, 14, room + 4, "600 12px system-ui, sans-serif");
    const kept = this.kept[axis.name];
    if (kept) {
      pen.fillStyle = style("--link");
      pen.globalAlpha = 0.35;
      pen.fillRect(x - 7, this.toY(kept[1]), 14, this.toY(kept[0]) - this.toY(kept[1]));
      pen.globalAlpha = 1;
    }
    const is_last = i === this.axes.length - 1;
    pen.textAlign = is_last ? "right" : "left";
    pen.textBaseline = "middle";
    for (const [at, label] of axis.ticks) this.write(label, x + (is_last ? -6 : 6), this.toY(at), room, "11px system-ui, sans-serif");
  }
  write(text, x, y, room, font) {  // cut to the room that there is, on a ground that lines do not disturb
    const { pen } = this;
    pen.font = font;
    let cut = text;
    while (cut.length > 2 && pen.measureText(cut + "…").width > room) cut = cut.slice(0, -1);
    if (cut !== text && cut.length < text.length - 1) cut += "…"; else cut = text;
    pen.lineWidth = 3;
    pen.strokeStyle = style("--paper");
    pen.strokeText(cut, x, y);
    pen.fillStyle = style("--ink");
    pen.fillText(cut, x, y);
  }
  nearest(px, py) {
    let best = null, least = 10;
    const step = this.axes.length > 1 ? this.toX(1) - this.toX(0) : 1;
    const i = Math.max(0, Math.min(this.axes.length - 2, Math.floor((px - this.toX(0)) / step)));
    for (const line of this.lines) {
      const [a, b] = [line.at[i], line.at[Math.min(i + 1, line.at.length - 1)]].map((at) => this.toY(at));
      const distance = Math.abs(a + (b - a) * Math.max(0, Math.min(1, (px - this.toX(i)) / step)) - py);
      if (distance < least && this.has(line)) { least = distance; best = line; }
    }
    return best;
  }
  listen() {
    const canvas = this.place.querySelector("canvas");
    const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    const place = (y) => Math.max(0, Math.min(1, (this.height - 18 - y) / (this.height - 58)));
    canvas.addEventListener("pointerdown", (event) => {
      const [x, y] = at(event);
      const axis = this.axes.findIndex((_, i) => Math.abs(this.toX(i) - x) < 30);
      if (axis < 0) return;
      const name = this.axes[axis].name;
      this.dragged = { name, from: y, before: this.kept[name] };
      if (event.pointerType !== "touch") canvas.setPointerCapture(event.pointerId);  // a finger scrolls the page
    });
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = at(event);
      if (this.dragged) {
        const [low, high] = [place(this.dragged.from), place(y)].sort((a, b) => a - b);
        this.kept[this.dragged.name] = [low - 0.005, high + 0.005];
        this.draw();
        return;
      }
      const before = this.near;
      this.near = this.nearest(x, y);
      if (before !== this.near) this.draw();
      showTip(this.tip, this.near ? settingName(this.near.setting) : "", x, y, this.width);
    });
    const end = (event) => {
      if (!this.dragged) return;
      const { name, from, before } = this.dragged;
      const [, y] = at(event);
      this.dragged = null;
      if (event.type === "pointercancel" || Math.abs(y - from) < 5) delete this.kept[name];
      if (event.type === "pointercancel" && before) this.kept[name] = before;
      if (event.type === "pointerup" && Math.abs(y - from) < 5 && !before) this.kept[name] = [place(from) - 0.06, place(from) + 0.06];
      this.changed();
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("pointerleave", () => { if (!this.dragged) { this.near = null; showTip(this.tip, ""); this.draw(); } });
  }
}

// ---- put together
const charts = [];
const place = (name) => document.querySelector(`[data-table=${name}]`);
const settings = new DataTable(place("settings"), "settings", data.settings, (index) => { picked = index; charts.forEach((chart) => chart.draw()); });
new DataTable(place("runs"), "runs", data.runs);
if (data.curves) { byId("curves").hidden = false; charts.push(new Curves(data.curves)); }
if (data.parallel) {
  byId("parallel").hidden = false;
  charts.push(new Parallel(data.parallel, (keeps) => { settings.extra = keeps; settings.refresh(); }));
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.draw()));

// ---- live: while the sweep runs, the page comes again when the server has a newer one, as it was left
document.querySelectorAll("details").forEach((details) => {
  const name = details.parentElement.id + " " + (details.querySelector("b") || details.querySelector("summary")).textContent;
  const open = memory.open ||= [];
  details.open = open.includes(name);
  details.addEventListener("toggle", () => { memory.open = memory.open.filter((other) => other !== name).concat(details.open ? [name] : []); remember(); });
});
if (data.live) {
  let touched = 0;
  for (const event of ["keydown", "pointerdown", "pointermove"]) addEventListener(event, () => { touched = Date.now(); }, { passive: true });
  if (memory.left) {
    const { x, y, boxes, focus } = memory.left;
    delete memory.left;
    remember();
    document.querySelectorAll(".box").forEach((box, i) => { if (boxes[i]) [box.scrollLeft, box.scrollTop] = boxes[i]; });
    if (focus && byId(focus)) byId(focus).focus({ preventScroll: true });
    scrollTo(x, y);
  }
  const line = make("span", { className: "status", role: "status", textContent: " Live." });
  document.querySelector("header p:not(.alert)").append(line);
  setInterval(async () => {
    try {
      const { version } = await (await fetch("/version", { cache: "no-store" })).json();
      line.textContent = " Live.";
      if (version === data.live || Date.now() - touched < 1500) return;
      memory.left = { x: scrollX, y: scrollY, boxes: [...document.querySelectorAll(".box")].map((box) => [box.scrollLeft, box.scrollTop]), focus: document.activeElement.id };
      remember();
      location.reload();
    } catch { line.textContent = " The server has ended: this is the last state that it gave."; }
  }, 2000);
}
