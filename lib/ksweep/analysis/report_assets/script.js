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
const short = (value, digits) => String(Number(value.toPrecision(digits)));
const number = (value, is_share) => (is_share ? (100 * value).toFixed(2) + "%" : short(value, 5));
const tick = (value, is_share) => (is_share ? short(100 * value, 4) + "%" : short(value, 4));
const font = "system-ui, sans-serif";
function chartIn(place, draw) {  // an empty chart that is drawn whenever it has got another size, also for the first time
  const chart = echarts.init(place);
  new ResizeObserver(() => { chart.resize(); draw(); }).observe(place);
  return chart;
}
const tooltip = (text) => ({  // a node: what is given as a string would be taken for HTML
  confine: true, transitionDuration: 0, className: "tip", borderWidth: 0, padding: [4, 9], backgroundColor: style("--ink"),
  textStyle: { color: style("--paper"), fontSize: 13 }, extraCssText: "white-space: pre-line; max-width: min(20rem, 90%)",
  formatter: (params) => make("div", { textContent: text(params) }),
});
let picked = null;  // the setting that was clicked in its table

// ---- learning curves
const BAD = ["pruned", "failed", "oom", "diverged", "timeout", "crashed"];
const CROSS = "path://M-1,-1L1,1M-1,1L1,-1";
const FARTHEST = 1e300;  // so that no difference of two limits overflows
class Curves {
  constructor(curves) {
    this.curves = curves;
    this.place = byId("curves-chart");
    this.memory = memory.curves ||= { metric: 0, log: false, off: [], zoom: null };
    if (this.memory.metric >= curves.metrics.length) Object.assign(this.memory, { metric: 0, zoom: null });
    const settings = [...new Set(curves.runs.map((run) => run.setting))];
    this.coloured = new Map(settings.slice(0, COLOURS.length).map((setting, i) => [setting, COLOURS[i]]));
    this.are_whole = curves.runs.every((run) => run.x.every(Number.isInteger));
    curves.metrics.forEach((metric, i) => byId("metric").append(make("option", { value: i, textContent: metric.name, selected: i === this.memory.metric })));
    byId("log").checked = this.memory.log;
    byId("metric").addEventListener("change", (event) => this.set({ metric: Number(event.target.value), zoom: null }));
    byId("log").addEventListener("change", (event) => this.set({ log: event.target.checked, zoom: null }));
    byId("whole").addEventListener("click", () => this.set({ zoom: null }));
    const others = settings.length - this.coloured.size;
    const hint = "Point at a curve for its run; drag to zoom, click a setting below to hide it.";
    byId("curves-note").textContent = [hint, curves.note, others > 0 ? `In colour: the first ${this.coloured.size} settings; grey: ${others} others.` : ""].join(" ");
    this.drawLegend(others);
    this.chart = chartIn(this.place, () => this.draw());
    this.chart.getZr().on("mousemove", (event) => { this.pointer = [event.offsetX, event.offsetY]; });
    this.chart.getZr().on("dblclick", () => this.set({ zoom: null }));
    this.chart.on("brushEnd", ({ areas }) => {
      const [[x0, x1], [y0, y1]] = areas.length ? areas[0].coordRange : [[0, 0], [0, 0]];
      if (x0 < x1 && y0 < y1) this.set({ zoom: [x0, x1, y0, y1] });
    });
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
    return y === null || (this.memory.log && y <= 0) ? null : y;
  }
  limits(runs) {  // all of x; of y what the coloured curves need after the first tenth, so that a wild start squeezes nothing
    if (this.memory.zoom) return this.memory.zoom;
    const main = runs.filter((run) => this.coloured.has(run.setting));
    const scaled = this.memory.log ? Math.log10 : (y) => y;
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const run of runs) { x0 = Math.min(x0, run.x[0]); x1 = Math.max(x1, run.x.at(-1)); }
    for (const run of main.length ? main : runs) {
      run.x.forEach((x, i) => {
        const y = this.value(run, i);
        if (y !== null && (x >= x0 + (x1 - x0) / 10 || run.x.length < 4)) { y0 = Math.min(y0, scaled(y)); y1 = Math.max(y1, scaled(y)); }
      });
    }
    if (!(y1 >= y0)) [y0, y1] = [0, 1];
    if (!(x1 >= x0)) [x0, x1] = [0, 1];
    const pad = (y1 - y0) * 0.06 || Math.abs(y1) * 0.05 || 0.5;
    const edge = (x1 - x0) * 0.02 || 0.5;
    const ends = [y0 - pad, y1 + pad].map((y) => (this.memory.log ? 10 ** y : y));
    return [x0 - edge, x1 + edge, ...ends].map((end) => Math.max(-FARTHEST, Math.min(FARTHEST, end)));
  }
  draw() {
    this.chart.setOption(this.option(this.visible()), { notMerge: true });
    // To drag is to zoom; a finger scrolls the page instead.
    const brushOption = { brushType: matchMedia("(pointer: coarse)").matches ? false : "rect", brushMode: "single" };
    this.chart.dispatchAction({ type: "takeGlobalCursor", key: "brush", brushOption });
    byId("whole").hidden = !this.memory.zoom;
  }
  option(runs) {
    const [x0, x1, y0, y1] = this.limits(runs), metric = this.curves.metrics[this.memory.metric];
    const axisLine = { show: true, onZero: false, lineStyle: { color: style("--line") } };
    const axis = { axisLine, axisTick: axisLine, splitLine: { lineStyle: { color: style("--line") } }, nameTextStyle: { color: style("--soft") } };
    const is_narrow_log = this.memory.log && y1 / y0 < 100;  // it has few round ticks: the ends are told too
    const label = { color: style("--soft"), hideOverlap: true, showMinLabel: false, showMaxLabel: false };
    return {
      animation: false, textStyle: { fontFamily: font }, tooltip: tooltip((params) => this.tell(params.data.run)),
      grid: { left: 62, right: 12, top: 12, bottom: 44, show: true, borderColor: style("--line") },
      xAxis: {
        ...axis, type: "value", min: x0, max: x1, minInterval: this.are_whole ? 1 : 0, splitLine: { show: false }, name: this.curves.time,
        nameLocation: "middle", nameGap: 26, axisLabel: { ...label, formatter: (x) => short(x, 6) },
      },
      yAxis: {
        ...axis, type: this.memory.log ? "log" : "value", logBase: is_narrow_log ? 2 : 10, min: y0, max: y1,
        axisLabel: { ...label, formatter: (y) => tick(y, metric.share), ...(is_narrow_log ? { showMinLabel: true, showMaxLabel: true } : {}) },
      },
      toolbox: { show: false },
      brush: { xAxisIndex: 0, brushStyle: { color: style("--link"), opacity: 0.15, borderWidth: 0 } },
      series: this.series(runs),
    };
  }
  series(runs) {  // a line for each part of a run without a gap; marks for parts of one report, and where a run was ended early
    const num_grey = runs.filter((run) => !this.coloured.has(run.setting)).length;
    const place = (run) => (run.setting === picked ? 2 : this.coloured.has(run.setting) ? 1 : 0);
    const inOrder = [...runs].reverse().sort((a, b) => place(a) - place(b));  // the best on top
    const lines = [], marks = [];
    for (const run of inOrder) {
      const colour = this.coloured.get(run.setting);
      const lineStyle = colour ? { color: colour, width: 1.6, opacity: 0.9 }
        : { color: style("--soft"), width: 0.8, opacity: Math.max(0.12, Math.min(0.5, 30 / num_grey)) };
      if (run.setting === picked) Object.assign(lineStyle, { width: 3, opacity: 1, color: colour || style("--ink") });
      const parts = this.parts(run), { color, opacity } = lineStyle;
      for (const coords of parts.filter((part) => part.length > 1)) lines.push({ run, coords, lineStyle });
      for (const [at] of parts.filter((part) => part.length === 1)) marks.push({ run, value: at, itemStyle: { color, opacity } });
      if (parts.length && BAD.includes(run.status)) {
        const itemStyle = { color: "transparent", borderColor: color, borderWidth: lineStyle.width, opacity };
        marks.push({ run, value: parts.at(-1).at(-1), symbol: CROSS, symbolSize: 7, itemStyle });
      }
    }
    return [
      { type: "lines", coordinateSystem: "cartesian2d", polyline: true, clip: true, data: lines, emphasis: { lineStyle: { width: 3, opacity: 1 } } },
      { type: "scatter", symbolSize: 6, data: marks, cursor: "default" },
    ];
  }
  parts(run) {
    const parts = [];
    let is_gap = true;
    run.x.forEach((x, i) => {
      const y = this.value(run, i);
      if (y !== null && is_gap) parts.push([]);
      if (y !== null) parts.at(-1).push([x, y]);
      is_gap = y === null;
    });
    return parts;
  }
  tell(run) {  // the run, and its report next to the pointer
    const metric = this.curves.metrics[this.memory.metric];
    const [x] = this.chart.convertFromPixel({ gridIndex: 0 }, this.pointer);
    const known = run.x.map((_, i) => i).filter((i) => this.value(run, i) !== null);
    const i = known.reduce((best, other) => (Math.abs(run.x[other] - x) < Math.abs(run.x[best] - x) ? other : best));
    const line = `${metric.name} ${number(this.value(run, i), metric.share)} at ${this.curves.time} ${run.x[i]}`;
    return `${run.config} (${run.status})\n${settingName(run.setting)}\n${line}`;
  }
}

// ---- parallel coordinates
const SIDE = 64;  // room beside the outermost axes
class Parallel {
  constructor({ axes, lines }, onChange) {
    Object.assign(this, { axes, lines, onChange });
    this.place = byId("parallel-chart");
    // Name of an axis -> [low, high], what is kept of it.
    this.kept = new Map((memory.ranges || []).filter(([name]) => axes.some((axis) => axis.name === name)));
    this.place.style.minWidth = 90 * axes.length + 2 * SIDE - 64 + "px";
    this.tell();
    // A finger draws a range where it starts on an axis, and scrolls where it does not.
    this.place.addEventListener("touchstart", (event) => {
      const x = event.touches[0].clientX - this.place.getBoundingClientRect().left;
      if (!axes.some((_, i) => Math.abs(this.toX(i) - x) < 20)) event.stopPropagation();
    }, { capture: true, passive: true });
    this.chart = chartIn(this.place, () => this.draw());
    this.draw();
    this.choose((name) => (this.kept.has(name) ? [this.kept.get(name)] : []));
    this.chart.on("axisareaselected", ({ parallelAxisId, intervals }) => {
      const { name } = axes[parallelAxisId.slice(5)];
      if (intervals.length) this.kept.set(name, intervals[0]); else this.kept.delete(name);
      this.is_new = true;
    });
    // Told when a drag has ended: the table is above, and would move the chart away.
    for (const event of ["mouseup", "touchend", "touchcancel"]) addEventListener(event, () => setTimeout(() => this.changed()));
    byId("parallel-clear").addEventListener("click", () => { this.choose(() => []); this.changed(); this.draw(); });
  }
  choose(intervals) {  // of each axis by its name
    this.axes.forEach(({ name }, i) => this.chart.dispatchAction({ type: "axisAreaSelect", parallelAxisId: `axis ${i}`, intervals: intervals(name) }));
  }
  changed() {
    if (!this.is_new) return;
    this.is_new = false;
    memory.ranges = [...this.kept];
    remember();
    this.tell();
  }
  toX(i) { return SIDE + (i * (this.chart.getWidth() - 2 * SIDE)) / Math.max(1, this.axes.length - 1); }
  has(line) {
    return this.axes.every(({ name }, i) => {
      const [low, high] = this.kept.get(name) || [-Infinity, Infinity];
      return line.at[i] >= low && line.at[i] <= high;
    });
  }
  tell() {
    const inside = this.lines.filter((line) => this.has(line));
    const is_cut = this.kept.size > 0;
    byId("parallel-clear").hidden = !is_cut;
    this.count = is_cut ? `${inside.length} of ${this.lines.length} settings are inside` : `${this.lines.length} settings`;
    this.tellCount();
    const settings = new Set(inside.map((line) => line.setting));
    this.onChange(is_cut ? (index) => settings.has(index) : null);
  }
  tellCount() {
    byId("parallel-count").textContent = `${this.count}; ${isDark() ? "blue the worst, yellow the best" : "green the worst, violet the best"}`;
  }
  draw() {
    this.tellCount();
    const opacity = Math.max(0.25, Math.min(0.9, 60 / this.lines.length));
    const weak = { inactiveOpacity: isDark() ? 0.08 : 0.05, activeOpacity: Math.max(opacity, 0.7) };
    const strong = { color: COLOURS[1], width: 3, opacity: 1 };
    const lines = [...this.lines].reverse().sort((a, b) => (a.setting === picked) - (b.setting === picked));  // the best on top
    const items = lines.map((line) => ({
      setting: line.setting, value: line.at,
      lineStyle: line.setting === picked ? strong : { color: this.colour(line.good), width: 1.3, opacity },
    }));
    this.chart.setOption({
      animation: false, textStyle: { fontFamily: font }, tooltip: tooltip((params) => settingName(params.data.setting)),
      parallel: { left: SIDE, right: SIDE, top: 40, bottom: 18 },
      parallelAxis: this.axes.map((axis, i) => this.axisOption(axis, i)),
      series: [{ type: "parallel", data: items, ...weak, emphasis: { lineStyle: strong } }],
    });
    // The library draws a kept range again in a style of its own, which hides the axis.
    const ranges = this.chart.getZr().storage.getDisplayList(true).filter((shape) => shape.name === "main" && shape.parent?.__brushOption);
    for (const shape of ranges) shape.setStyle({ fill: style("--link"), stroke: style("--link"), lineWidth: 1, opacity: 0.35 });
  }
  axisOption(axis, i) {
    const next = i + 1 < this.axes.length ? this.toX(i + 1) : this.chart.getWidth(), room = next - this.toX(i);
    const ground = { textBorderColor: style("--paper"), textBorderWidth: 3 }, line = { color: style("--soft") };
    const label = { color: style("--ink"), fontSize: 11, width: room - 10, overflow: "truncate", ellipsis: "…", hideOverlap: true, ...ground };
    const { scale, ...onScale } = axis.kind === "category" ? this.labelled(axis) : this.scaled(axis);
    return {
      ...scale, id: `axis ${i}`, dim: i, name: axis.name, nameGap: 14, nameTruncate: { maxWidth: Math.min(room, 2 * SIDE) - 4, ellipsis: "…" },
      nameTextStyle: { color: style("--ink"), fontWeight: 600, fontSize: 12, ...ground }, splitLine: { show: false },
      axisLine: { lineStyle: line }, axisTick: { lineStyle: line, customValues: onScale.customValues }, axisLabel: { ...label, ...onScale },
      areaSelectStyle: { width: 18, color: style("--link"), opacity: 0.35, borderColor: style("--link") },
    };
  }
  labelled({ labels }) {  // on a scale of numbers: the range of one label has a length there
    return { scale: { type: "value", min: -0.5, max: labels.length - 0.5 }, customValues: labels.map((_, i) => i), formatter: (i) => labels[i] };
  }
  scaled({ kind, share, low, high, foot }) {
    const formatter = (value, index) => (value < low ? (index === 0 ? "-" : "") : share ? tick(value, true) : short(value, 3));
    return { scale: { type: kind, min: foot ?? low, max: high }, formatter };
  }
  colour(good) {  // viridis without the end that is lost on the ground
    const stops = isDark() ? [[59, 82, 139], [33, 145, 140], [94, 201, 98], [180, 222, 44], [253, 231, 37]]
      : [[190, 215, 50], [94, 201, 98], [33, 145, 140], [59, 82, 139], [68, 1, 84]];
    const place = good * 4, i = Math.min(3, Math.floor(place));
    return `rgb(${stops[i].map((low, k) => Math.round(low + (stops[i + 1][k] - low) * (place - i))).join(",")})`;
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
