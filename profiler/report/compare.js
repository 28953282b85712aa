"use strict";
// Draws one comparison. Everything from a trace reaches the page through textContent or fillText, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = id => document.getElementById(id);
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const make = (tag, text, className) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const time = (us, signed) => {
    const sign = signed && us > 0 ? "+" : "";
    const size = Math.abs(us);
    if (size >= 1e4) return sign + (us / 1e3).toFixed(2) + " ms";
    if (size >= 1e3) return sign + (us / 1e3).toFixed(3) + " ms";
    return sign + us.toFixed(size >= 100 ? 1 : 2) + " µs";
  };
  // In a table and in the waterfall all is in one unit, so that numbers can be compared by their looks.
  const inMs = () => phase.longest >= 1000;
  const unit = () => (inMs() ? "ms" : "µs");
  const figure = (us, signed) => {
    const value = inMs() ? us / 1e3 : us, text = Math.abs(value).toLocaleString("en", { minimumFractionDigits: inMs() ? 3 : 2, maximumFractionDigits: inMs() ? 3 : 2 });
    return (value < 0 && /[1-9]/.test(text) ? "-" : signed && value > 0 ? "+" : "") + text;
  };
  const colour = word => data.colours[word] || data.colours.other;
  // chosen: line of the ledger; kernel, hover: { side, row }
  const state = { phase: 0, by: "category", sort: ["change", true], chosen: null, kernel: null, hover: null, from: 0, to: 1 };
  const stats = { drawn: 0, frames: [] }; // for tests: rectangles of the last frame, milliseconds of each
  window.tokprof = { data, state, stats };

  // ---------------------------------------------------------------------------------------------------------- phase
  let phase, sides, partner;
  const GUTTER = 92, TOP = 26, RIBBON = 64;
  let rowHeight = 30;

  function choosePhase(index) {
    state.phase = index;
    phase = data.phases[index];
    sides = { a: phase.a, b: phase.b };
    partner = { a: new Int32Array(phase.a.start.length).fill(-1), b: new Int32Array(phase.b.start.length).fill(-1) };
    phase.lineOfRow = { a: new Int32Array(partner.a.length), b: new Int32Array(partner.b.length) };
    phase.a_row.forEach((row, line) => {
      const other = phase.b_row[line];
      if (row >= 0) { partner.a[row] = other; phase.lineOfRow.a[row] = line; }
      if (other >= 0) { partner.b[other] = row; phase.lineOfRow.b[other] = line; }
    });
    for (const side of ["a", "b"]) {
      const part = sides[side];
      part.byLane = part.lanes.map(() => []);
      part.lane.forEach((lane, k) => part.byLane[lane].push(k));
    }
    phase.longest = Math.max(sides.a.wall, sides.b.wall, 1e-3);
    rowHeight = Math.round(Math.max(14, Math.min(30, 420 / (sides.a.lanes.length + sides.b.lanes.length))));
    Object.assign(state, { chosen: null, kernel: null, hover: null });
    showAll();
    for (const side of ["a", "b"]) $("facts-" + side).textContent = factsOf(sides[side]);
    $("phases").childNodes.forEach((b, i) => b.setAttribute("aria-selected", i === index));
    showDetail();
    fillLimits();
    fillWaterfall();
    drawAll();
    fillLedger();
  }

  function factsOf(side) {
    const steps = side.steps === 1 ? "one step" : side.sampled === side.steps ? "typical of " + side.steps + " steps"
      : "typical of " + side.sampled + " alike among " + side.steps + " steps";
    return time(side.wall) + ", " + side.start.length + " kernels, " + (side.time_of || steps) + ", by " + side.evidence;
  }

  // --------------------------------------------------------------------------------------------------------- limits
  // Each run whose model and device are known, beside the least time that the device could take for the step.
  function fillLimits() {
    const percent = share => (100 * share).toFixed(1) + " %";
    const cell = (text, strong, className) => {
      const box = make("span", text, className);
      if (strong) box.append(make("b", strong));
      return box;
    };
    $("limits").replaceChildren(...["a", "b"].filter(side => phase.limits[side]).flatMap(side => {
      const of = phase.limits[side], floor = cell(of.bound + " floor " + figure(of.floor) + " " + unit());
      floor.title = "the least time that the device could take for this step, by what was " + of.source;
      return [make("span", side.toUpperCase(), "tag " + side), floor, cell("measured " + figure(of.time) + " " + unit() + ", ", "×" + (of.time / of.floor).toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })),
        cell((of.mfu === null ? "" : "MFU " + percent(of.mfu) + ", ") + "MBU " + percent(of.mbu)),
        cell("gap " + figure(of.gap) + " " + unit() + (of.owners.length ? ": " : "") + of.owners.map(([name, us]) => name + " " + figure(us)).join(", "), undefined, "owners")];
    }));
  }

  // ------------------------------------------------------------------------------------------------------ waterfall
  // What is too small to be seen is one row together, so that the rows still lead from A's time to B's.
  function fillWaterfall() {
    const all = phase.ledgers.category.map(line => [line.key, line.change - line.gap]);
    all.push(["gaps", phase.ledgers.category.reduce((sum, line) => sum + line.gap, 0)]);
    if (Math.abs(phase.residual) > 0.0005) all.push(["residual", phase.residual]);
    const large = Math.max(...all.map(step => Math.abs(step[1])), 1e-9);
    const shown = all.filter(step => Math.abs(step[1]) >= 0.01 * large).sort((x, y) => Math.abs(y[1]) - Math.abs(x[1]));
    const small = all.filter(step => step[1] !== 0 && !shown.includes(step));
    if (small.length) shown.push([small.length === 1 ? small[0][0] : small.length + " smaller ones", small.reduce((s, x) => s + x[1], 0)]);

    const levels = [phase.a.wall];
    for (const [, change] of shown) levels.push(levels[levels.length - 1] + change);
    let low = Math.min(...levels, phase.b.wall), high = Math.max(...levels, phase.b.wall);
    const room = high - low || high || 1;
    low = low > 40 * room ? low - 0.35 * room : 0; // only where nothing else would be seen; and said
    const percent = us => 100 * (us - low) / (high - low || 1) + "%";
    const row = (name, from, to, text, className, action) => {
      const box = make(action ? "button" : "div", undefined, "step " + className), track = make("div", undefined, "track");
      const bar = make("i"), value = make("span", text), label = make("span", name, "label");
      bar.style.left = percent(Math.min(from, to));
      bar.style.width = "max(2px, " + percent(low + Math.abs(to - from)) + ")";
      value.style.left = percent(Math.max(from, to));
      if (data.colours[name]) label.style.setProperty("--colour", colour(name));
      track.append(bar, value);
      box.append(label, track);
      if (action) box.onclick = action;
      return box;
    };
    const total = (name, us) => row(name, low, us, figure(us) + " " + unit(), "total");
    const rows = shown.map(([name, change], i) => row(name, levels[i], levels[i + 1], figure(change, true) + " " + unit(),
      change > 0 ? "worse" : "better", actionFor(name)));
    $("waterfall").replaceChildren(total("A", phase.a.wall), ...rows, total("B", phase.b.wall));
    $("waterfall").className = low > 0 ? "cut" : "";
    $("cut").textContent = low > 0 ? "bars begin at " + time(low) + ": A and B are nearly as long as each other" : "";
  }

  function actionFor(name) {
    if (name === "gaps") {
      return () => { sortBy("gap", true); leadTo(() => true, gapOf, phase.ledgers.category.reduce((sum, line) => sum + line.gap, 0)); };
    }
    const index = phase.ledgers.category.findIndex(line => line.key === name);
    if (index < 0 || name === phase.side_by_side) return undefined;
    return () => { groupBy("category"); chooseLine(index, durationOf); };
  }

  // -------------------------------------------------------------------------------------------------------- timeline
  function canvasOf(canvas, height) {
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth;
    canvas.style.height = height + "px";
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "12.5px system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";
    return [pen, width];
  }

  const heights = () => {
    const a = TOP + sides.a.lanes.length * rowHeight, b = a + RIBBON, end = b + sides.b.lanes.length * rowHeight;
    return { aTop: TOP, aBottom: a, bTop: b, bBottom: end, all: end + 12 };
  };
  let scale = 1, plotWidth = 1, letter = 7;
  const toX = us => GUTTER + (us - state.from) * scale;
  const toUs = px => state.from + (px - GUTTER) / scale;

  function dimmed(side, row) {
    if (state.chosen !== null) return phase.line_of[state.by][phase.lineOfRow[side][row]] !== state.chosen;
    return false;
  }

  function drawTimeline() {
    const started = performance.now();
    const h = heights();
    const [pen, width] = canvasOf($("timeline"), h.all);
    letter = pen.measureText("abcdefghijklmnopqrst").width / 20;
    plotWidth = width - GUTTER - 10;
    scale = plotWidth / (state.to - state.from);
    stats.drawn = 0;
    drawAxis(pen, width, h);
    for (const [side, top] of [["a", h.aTop], ["b", h.bTop]]) {
      const part = sides[side];
      part.lanes.forEach((stream, lane) => {
        const y = top + lane * rowHeight, first = part.lanes.indexOf(stream), count = part.lanes.lastIndexOf(stream) + 1 - first;
        if (lane === first) {
          pen.fillStyle = css("--lane");
          pen.fillRect(GUTTER, y + 2, plotWidth, count * rowHeight - 4);
          pen.fillStyle = css("--soft"); pen.textAlign = "right"; pen.textBaseline = "middle";
          pen.fillText(side.toUpperCase() + " stream " + stream, GUTTER - 8, y + 0.5 * count * rowHeight, GUTTER - 14);
        }
        drawLane(pen, side, part, lane, y + 4);
      });
    }
    drawRibbons(pen, h);
    drawPair(pen, h, state.hover, css("--soft"));
    drawPair(pen, h, state.kernel, css("--mark"));
    stats.frames.push(performance.now() - started);
    if (stats.frames.length > 400) stats.frames.shift();
  }

  function drawAxis(pen, width, h) {
    const about = 110 / scale, power = 10 ** Math.floor(Math.log10(about));
    const step = [1, 2, 5, 10].map(f => f * power).find(s => s >= about);
    pen.textAlign = "center"; pen.textBaseline = "alphabetic"; pen.lineWidth = 1;
    for (let us = Math.ceil(Math.max(0, state.from) / step) * step; us <= state.to; us += step) {
      const at = Math.round(toX(us)) + 0.5;
      pen.strokeStyle = css("--line");
      pen.beginPath(); pen.moveTo(at, 18); pen.lineTo(at, h.bBottom); pen.stroke();
      pen.fillStyle = css("--soft");
      const words = step >= 1000 ? us / 1000 + " ms" : us.toFixed(step < 1 ? 2 : 0) + " µs";
      pen.fillText(words, Math.min(at, width - 30), 13);
    }
  }

  // Of kernels narrower than a pixel one per pixel column is drawn, and equal neighbours join: what is drawn is bounded
  // by the screen, not by the number of kernels.
  function drawLane(pen, side, part, lane, y) {
    let runFrom = 0, runTo = 0, runColour = null;
    const flush = () => {
      if (runTo <= runFrom) return;
      pen.fillStyle = runColour;
      pen.fillRect(runFrom, y, Math.max(0.75, runTo - runFrom), rowHeight - 8);
      stats.drawn += 1;
      runFrom = runTo;
    };
    for (const k of part.byLane[lane]) {
      const from = toX(part.start[k]), to = toX(part.start[k] + part.duration[k]);
      if (to < GUTTER) continue;
      if (from > GUTTER + plotWidth) break;
      const fill = colour(part.categorys[part.category[k]]);
      const faint = dimmed(side, k);
      const left = Math.max(from, GUTTER), right = Math.min(to, GUTTER + plotWidth);
      if (right - left >= 1.5) {
        flush();
        pen.globalAlpha = faint ? 0.18 : 1;
        pen.fillStyle = fill;
        pen.fillRect(left, y, right - left - (right - left > 4 ? 0.75 : 0), rowHeight - 8);
        stats.drawn += 1;
        if (right - left > 60 && !faint) label(pen, part.names[part.name[k]], left, right, y, fill);
        pen.globalAlpha = 1;
      } else if (!faint) {
        const place = Math.floor(left);
        if (place < runTo) continue;
        if (runColour === fill && place <= runTo + 1) runTo = Math.max(runTo, place + 1);
        else { flush(); runColour = fill; runFrom = place; runTo = place + 1; }
      }
    }
    flush();
  }

  const dark = new Set(["gemm", "attention", "norm", "other"].map(colour));
  const shortName = text => text.replace(/^void /, "").replace(/\(anonymous namespace\)::/g, "").replace(/^(?:\w+::)+(?=\w)/, "");
  function label(pen, text, left, right, y, fill) {
    pen.fillStyle = dark.has(fill) ? "#fff" : "#111"; pen.textAlign = "left"; pen.textBaseline = "middle";
    const room = Math.floor((right - left - 8) / letter), short = shortName(text);
    pen.fillText(short.length > room ? short.slice(0, Math.max(1, room - 1)) + "…" : short, left + 4, y + (rowHeight - 8) / 2 + 1);
  }

  function drawRibbons(pen, h) {
    let last = -10;
    for (let line = 0; line < phase.a_row.length; line++) {
      const a = phase.a_row[line], b = phase.b_row[line];
      if (a < 0 || b < 0) continue;
      const a0 = toX(sides.a.start[a]), a1 = a0 + sides.a.duration[a] * scale;
      const b0 = toX(sides.b.start[b]), b1 = b0 + sides.b.duration[b] * scale;
      if (Math.max(a1, b1) < GUTTER || Math.min(a0, b0) > GUTTER + plotWidth) continue;
      const chosen = state.chosen !== null && phase.line_of[state.by][line] === state.chosen;
      if (!chosen && a1 - a0 < 3 && b1 - b0 < 3) {
        if (a0 - last < 4) continue; // as many ribbons as can be told apart
        last = a0;
      }
      if (state.chosen !== null && !chosen) continue;
      ribbon(pen, a, b, h.aBottom, h.bTop, 0.5);
    }
  }

  function ribbon(pen, a, b, top, bottom, alpha) {
    const clip = px => Math.max(GUTTER, Math.min(GUTTER + plotWidth, px));
    const a0 = toX(sides.a.start[a]), a1 = a0 + Math.max(0.7, sides.a.duration[a] * scale);
    const b0 = toX(sides.b.start[b]), b1 = b0 + Math.max(0.7, sides.b.duration[b] * scale);
    pen.globalAlpha = alpha;
    pen.fillStyle = colour(sides.a.categorys[sides.a.category[a]]);
    pen.beginPath();
    pen.moveTo(clip(a0), top); pen.lineTo(clip(a1), top); pen.lineTo(clip(b1), bottom); pen.lineTo(clip(b0), bottom);
    pen.fill();
    pen.globalAlpha = 1;
    stats.drawn += 1;
  }

  // Outline a kernel and its counterpart; their ribbon goes from lane to lane, over those that lie between.
  function drawPair(pen, h, found, ink) {
    if (!found) return;
    const pair = pairOf(found), tops = { a: h.aTop, b: h.bTop };
    const y = side => tops[side] + sides[side].lane[pair[side]] * rowHeight;
    if (pair.a >= 0 && pair.b >= 0) ribbon(pen, pair.a, pair.b, y("a") + rowHeight - 4, y("b") + 4, 0.6);
    pen.strokeStyle = ink; pen.lineWidth = 2;
    for (const side of ["a", "b"]) {
      const k = pair[side];
      if (k < 0) continue;
      const from = Math.max(GUTTER, toX(sides[side].start[k]));
      const to = Math.min(GUTTER + plotWidth, toX(sides[side].start[k] + sides[side].duration[k]));
      if (to > GUTTER && from < GUTTER + plotWidth) pen.strokeRect(from - 1, y(side) + 3, Math.max(3, to - from) + 1, rowHeight - 6);
    }
  }

  function kernelAt(px, py) {
    const h = heights();
    const side = py >= h.aTop && py < h.aBottom ? "a" : py >= h.bTop && py < h.bBottom ? "b" : null;
    if (!side || px < GUTTER) return null;
    const part = sides[side], lane = Math.floor((py - (side === "a" ? h.aTop : h.bTop)) / rowHeight), us = toUs(px);
    const rows = part.byLane[lane] || [];
    let low = 0, high = rows.length;
    while (low < high) { const mid = (low + high) >> 1; if (part.start[rows[mid]] <= us) low = mid + 1; else high = mid; }
    let best = null, distance = 3 / scale;
    for (let i = Math.max(0, low - 6); i < Math.min(rows.length, low + 2); i++) {
      const k = rows[i], from = part.start[k], to = from + part.duration[k];
      const d = us < from ? from - us : us > to ? us - to : 0;
      if (d < distance || (d === 0 && best === null)) { distance = d; best = { side, row: k }; }
    }
    return best;
  }

  // ------------------------------------------------------------------------------------------------ hover and detail
  function pairOf(found) {
    const match = partner[found.side][found.row];
    return found.side === "a" ? { a: found.row, b: match } : { a: match, b: found.row };
  }

  function describe(pair) {
    const rows = [];
    const value = (side, pick) => (pair[side] < 0 ? "no counterpart" : pick(sides[side], pair[side]));
    const add = (name, pick) => rows.push([name, value("a", pick), value("b", pick)]);
    add("kernel", (s, k) => s.names[s.name[k]]);
    add("duration", (s, k) => time(s.duration[k]));
    add("category", (s, k) => s.categorys[s.category[k]]);
    add("operator", (s, k) => s.operators[s.operator[k]] || "not known");
    add("Python", (s, k) => s.frames[s.frame[k]] || "not known");
    add("layer", (s, k) => (s.layer[k] < 0 ? "outside the layers" : String(s.layer[k])));
    add("idle before", (s, k) => time(s.gap[k]) + (s.gap[k] > 0 && s.gap_causes[s.gap_cause[k]] ? " (" + s.gap_causes[s.gap_cause[k]] + ")" : ""));
    return rows;
  }

  const ratio = pair => pair.a < 0 || pair.b < 0 || !sides.a.duration[pair.a] ? "" :
    "B takes " + (sides.b.duration[pair.b] / sides.a.duration[pair.a]).toFixed(2) + " × A's time";

  function showTip(found, x, y) {
    const tip = $("tip");
    tip.hidden = !found;
    if (!found) return;
    const pair = pairOf(found);
    tip.replaceChildren();
    const own = sides[found.side];
    tip.append(make("b", own.names[own.name[found.row]].slice(0, 160)));
    for (const side of ["a", "b"]) {
      const k = pair[side];
      tip.append(make("div", side.toUpperCase() + ": " + (k < 0 ? "no counterpart" : time(sides[side].duration[k]))));
    }
    const more = [ratio(pair), own.operators[own.operator[found.row]], own.layer[found.row] >= 0 ? "layer " + own.layer[found.row] : ""];
    tip.append(make("div", more.filter(Boolean).join(" · ")));
    tip.style.left = Math.min(x + 14, window.innerWidth - tip.offsetWidth - 12) + "px";
    tip.style.top = (y + 20 + tip.offsetHeight > window.innerHeight ? y - tip.offsetHeight - 12 : y + 18) + "px";
  }

  function showDetail() {
    const box = $("detail");
    if (!state.kernel) {
      box.textContent = "Click a kernel, a bar or a line of the ledger: the kernel behind it is shown beside its counterpart.";
      return;
    }
    const pair = pairOf(state.kernel), table = make("table"), head = make("tr");
    head.append(make("th"), make("td", "A"), make("td", "B"));
    table.append(head);
    for (const [name, a, b] of describe(pair)) {
      const row = make("tr");
      row.append(make("th", name));
      for (const text of [a, b]) {
        const cell = make("td"), box = make("div", text, "clamp");
        box.title = text;
        cell.append(box);
        row.append(cell);
      }
      table.append(row);
    }
    const bar = make("div", ratio(pair), "bar"), button = make("button", "zoom to it");
    button.onclick = () => { showPair(pair); redraw(); };
    bar.append(button);
    box.replaceChildren(table, bar);
  }

  // ---------------------------------------------------------------------------------------------------------- ledger
  const COLUMNS = [
    ["key", "", ""], ["a", "A", "the kernels' own time in one step of A"], ["b", "B", "the same in B"],
    ["change", "change", "count, duration, new/gone and gaps together"],
    ["count", "count", "because kernels ran more or less often"], ["duration", "duration", "because they took longer or shorter"],
    ["set", "new/gone", "kernels of a kind that only one side has"], ["gap", "gaps", "idle time right before them"],
    ["counts", "kernels A → B", "how many in one step"], ["ceiling", "of ceiling A → B", "the floor of the operators that launched them over their time under the profiler"], ["verdict", "finding", "with the half-width of the change's 95 % interval, where there are repetitions"]];
  const WITH_UNIT = ["a", "b", "change"];
  const EFFECTS = ["change", "count", "duration", "set", "gap"];
  const changeOf = (line, name) => {
    const quiet = Math.abs(line[name]) < phase.longest * 1e-5;
    return make("td", quiet ? "·" : figure(line[name], true), quiet || line.verdict === "noise" ? "still" : line[name] > 0 ? "worse" : "better");
  };

  function fillLedger() {
    const lines = phase.ledgers[state.by];
    const [column, descending] = state.sort;
    const limited = lines.some(line => line.ceiling[0] || line.ceiling[1]);
    const ceilingOf = line => {
      const cell = make("td", line.ceiling[0] || line.ceiling[1] ? line.ceiling.map(of => of ? of.short : "–").join(" → ") + " %" : "–");
      cell.title = line.ceiling.map((of, i) => of ? "AB"[i] + ": " + of.text : "").filter(Boolean).join("; ");
      return cell;
    };
    const value = line => column === "ceiling" ? (line.ceiling[1] || line.ceiling[0] || { reached: -1 }).reached : column === "key" || column === "verdict" ? line[column] : column === "counts" ? line.counts[1] : ["a", "b"].includes(column) ? line[column] : Math.abs(line[column]);
    const order = lines.map((_, i) => i).sort((i, j) => {
      const x = value(lines[i]), y = value(lines[j]);
      return (x < y ? -1 : x > y ? 1 : 0) * (descending ? -1 : 1);
    });
    const head = make("tr");
    for (const [name, title, help] of COLUMNS.filter(([name]) => limited || name !== "ceiling")) {
      const cell = make("th", name === "key" ? state.by : WITH_UNIT.includes(name) ? title + " " + unit() : title);
      cell.scope = "col"; cell.tabIndex = 0; cell.dataset.column = name; cell.title = help;
      if (name === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const sort = () => sortBy(name, name === column ? !descending : name !== "key");
      cell.onclick = sort; cell.onkeydown = e => { if (e.key === "Enter") sort(); };
      head.append(cell);
    }
    $("ledger").tHead.replaceChildren(head);
    $("ledger").tBodies[0].replaceChildren(...order.map(index => {
      const line = lines[index], row = make("tr", undefined, index === state.chosen ? "chosen" : "");
      const first = make("td", line.key); first.title = line.key;
      row.append(first, make("td", figure(line.a)), make("td", figure(line.b)));
      row.append(...EFFECTS.map(name => changeOf(line, name)));
      const verdict = line.low === null ? line.verdict : line.verdict + " ± " + figure((line.high - line.low) / 2);
      row.append(make("td", line.counts[0] || line.counts[1] ? line.counts[0] + " → " + line.counts[1] : ""), ...(limited ? [ceilingOf(line)] : []), make("td", verdict, "still"));
      row.tabIndex = 0;
      const choose = () => chooseLine(index === state.chosen ? null : index);
      row.onclick = choose; row.onkeydown = e => { if (e.key === "Enter") choose(); };
      return row;
    }));
    const sum = Object.fromEntries(["a", "b", ...EFFECTS].map(name => [name, lines.reduce((s, line) => s + line[name], 0)]));
    const foot = make("tr");
    foot.append(make("td", "sum"), make("td", figure(sum.a)), make("td", figure(sum.b)), ...EFFECTS.map(name => changeOf(sum, name)), make("td"), ...(limited ? [make("td")] : []), make("td"));
    $("ledger").tFoot.replaceChildren(foot);
    const residual = Math.abs(phase.residual) < 0.0005 ? "none" : figure(phase.residual, true) + " " + unit();
    $("residual").textContent = "B less A: " + figure(phase.b.wall - phase.a.wall, true) + " " + unit() + " = sum and residual; residual: " + residual;
  }

  const sortBy = (column, descending) => { state.sort = [column, descending]; fillLedger(); };
  function groupBy(by) {
    $("by").value = state.by = by;
    state.chosen = null;
    fillLedger();
    redraw();
  }

  const durationOf = (side, k) => sides[side].duration[k];
  const gapOf = (side, k) => sides[side].gap[k];
  const timeOf = (side, k) => durationOf(side, k) + gapOf(side, k);

  // Show, of these lines of the alignment, the kernel that did most for a change, within the stretch that they cover.
  function leadTo(isWanted, valueOf, change) {
    let low = Infinity, high = -Infinity, most = -Infinity, found = null;
    for (let line = 0; line < phase.a_row.length; line++) {
      if (!isWanted(line)) continue;
      const value = { a: 0, b: 0 };
      for (const [side, k] of [["a", phase.a_row[line]], ["b", phase.b_row[line]]]) {
        if (k < 0) continue;
        low = Math.min(low, sides[side].start[k]);
        high = Math.max(high, sides[side].start[k] + sides[side].duration[k]);
        value[side] = valueOf(side, k);
      }
      const part = (value.b - value.a) * (change < 0 ? -1 : 1);
      if (part > most) { most = part; found = line; }
    }
    const [a, b] = [phase.a_row[found], phase.b_row[found]];
    state.kernel = a >= 0 ? { side: "a", row: a } : { side: "b", row: b };
    moveTo(low - 0.05 * (high - low), high + 0.05 * (high - low));
    showDetail();
    redraw();
    $("timeline").scrollIntoView({ block: "nearest" });
  }

  function chooseLine(index, valueOf = timeOf) {
    const line = phase.ledgers[state.by][index];
    state.chosen = line && line.key !== phase.side_by_side ? index : null;
    fillLedger();
    if (state.chosen === null) redraw();
    else leadTo(other => phase.line_of[state.by][other] === index, valueOf, line.change);
  }

  // ------------------------------------------------------------------------------------------------------------ view
  function moveTo(from, to) {
    const least = phase.longest * 1e-6, most = phase.longest * 1.2;
    const length = Math.max(least, Math.min(most, to - from)), middle = (from + to) / 2;
    let start = middle - length / 2;
    start = Math.max(-0.1 * phase.longest, Math.min(1.1 * phase.longest - length, start));
    state.from = start;
    state.to = start + length;
  }
  const showAll = () => moveTo(-0.01 * phase.longest, 1.01 * phase.longest);
  function showPair(pair) {
    const ends = Object.entries(pair).filter(([, k]) => k >= 0).map(([side, k]) => [sides[side].start[k], sides[side].start[k] + sides[side].duration[k]]);
    const room = Math.max(...ends.map(e => e[1] - e[0])), low = Math.min(...ends.map(e => e[0])), high = Math.max(...ends.map(e => e[1]));
    moveTo(low - 2 * room, high + 2 * room);
  }
  let waiting = false;
  const redraw = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; drawTimeline(); }); } };
  function zoom(factor, px) {
    const us = toUs(px);
    moveTo(us - (us - state.from) * factor, us + (state.to - us) * factor);
    redraw();
  }
  window.tokprof.zoom = zoom;

  const canvas = $("timeline");
  let drag = null;
  canvas.addEventListener("wheel", e => {
    if (e.deltaY > 0 && state.to - state.from >= phase.longest) return; // all is in view: the page scrolls on
    e.preventDefault();
    if (Math.abs(e.deltaX) > Math.abs(e.deltaY)) { moveTo(state.from + e.deltaX / scale, state.to + e.deltaX / scale); redraw(); }
    else zoom(e.deltaY > 0 ? 1.2 : 1 / 1.2, e.offsetX);
  }, { passive: false });
  canvas.addEventListener("pointerdown", e => { drag = { x: e.offsetX, from: state.from, to: state.to, moved: false }; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointermove", e => {
    if (drag) {
      const shift = (e.offsetX - drag.x) / scale;
      drag.moved = drag.moved || Math.abs(e.offsetX - drag.x) > 3;
      if (drag.moved) { moveTo(drag.from - shift, drag.to - shift); redraw(); showTip(null); }
    } else hover(kernelAt(e.offsetX, e.offsetY), e.clientX, e.clientY);
  });
  function hover(found, x, y) {
    showTip(found, x, y);
    if (found?.row === state.hover?.row && found?.side === state.hover?.side) return;
    state.hover = found;
    redraw();
  }
  canvas.addEventListener("pointerup", e => {
    if (drag && !drag.moved) { state.kernel = kernelAt(e.offsetX, e.offsetY); showDetail(); redraw(); }
    drag = null;
  });
  canvas.addEventListener("pointerleave", () => hover(null));
  canvas.addEventListener("dblclick", () => { showAll(); redraw(); });
  canvas.addEventListener("keydown", e => {
    const length = state.to - state.from, middle = GUTTER + plotWidth / 2;
    if (e.key === "ArrowLeft" || e.key === "ArrowRight") {
      const by = (e.key === "ArrowLeft" ? -0.1 : 0.1) * length;
      moveTo(state.from + by, state.to + by); redraw(); e.preventDefault();
    } else if (e.key === "+" || e.key === "=") zoom(1 / 1.4, middle);
    else if (e.key === "-") zoom(1.4, middle);
    else if (e.key === "0") { showAll(); redraw(); }
    else if (e.key === "n" || e.key === "p") stepBy(e.key === "n" ? 1 : -1);
  });
  function stepBy(count) {
    const side = state.kernel?.side ?? "a", last = sides[side].start.length - 1;
    const row = state.kernel ? state.kernel.row + count : Math.max(0, sides[side].start.findIndex(start => start >= state.from));
    if (last < 0) return;
    state.kernel = { side, row: Math.max(0, Math.min(last, row)) };
    const middle = sides[side].start[state.kernel.row] + sides[side].duration[state.kernel.row] / 2, length = state.to - state.from;
    if (middle < state.from || middle > state.to) moveTo(middle - length / 2, middle + length / 2);
    showDetail();
    redraw();
  }

  // -------------------------------------------------------------------------------------------------------- counters
  function drawCounters() {
    const box = $("counters");
    box.hidden = !data.counters.a.length && !data.counters.b.length;
    box.querySelectorAll(".counters").forEach(old => old.remove());
    if (box.hidden) return;
    const grid = make("div", undefined, "counters");
    box.append(grid);
    const names = [...new Set([...data.counters.a, ...data.counters.b].map(t => t.name))];
    for (const name of names) {
      const all = [...data.counters.a, ...data.counters.b].filter(t => t.name === name).flatMap(t => t.value);
      const low = Math.min(...all), high = Math.max(...all);
      for (const side of ["a", "b"]) {
        const track = data.counters[side].find(t => t.name === name), canvas = make("canvas");
        canvas.id = "counter-" + side + "-" + names.indexOf(name);
        grid.append(canvas);
        const [pen, width] = canvasOf(canvas, 74);
        pen.fillStyle = css("--soft"); pen.textBaseline = "top"; pen.textAlign = "left";
        pen.fillText(side.toUpperCase() + "  " + name + (track ? "  " + low + " – " + high : ": not recorded"), 0, 0);
        if (!track) continue;
        const end = track.time[track.time.length - 1] || 1;
        pen.strokeStyle = css("--ink"); pen.lineWidth = 1.5; pen.beginPath();
        track.time.forEach((t, i) => pen.lineTo(t / end * (width - 2) + 1, 70 - (track.value[i] - low) / (high - low || 1) * 48));
        pen.stroke();
      }
    }
  }

  function drawAll() { drawTimeline(); drawCounters(); }

  // ----------------------------------------------------------------------------------------------------------- begin
  for (const side of ["a", "b"]) {
    const cut = data[side].replace(/\/+$/, "").lastIndexOf("/") + 1;
    $("name-" + side).append(make("span", data[side].slice(0, cut)), make("b", data[side].slice(cut)));
  }
  $("headline").textContent = data.headline;
  for (const note of data.notes) {
    const line = make("p", (note.level === "warning" ? "! " : "· ") + note.message);
    if (note.advice) line.append(make("span", "→ " + note.advice, "advice"));
    $("notes").append(line);
  }
  if (!data.phases.length) {
    document.querySelectorAll("main section:not(#notes)").forEach(section => { section.hidden = true; });
    return;
  }
  data.phases.forEach((p, index) => {
    const button = make("button", p.name), change = p.a.wall ? 100 * (p.b.wall / p.a.wall - 1) : 0;
    button.append(make("span", " " + time(p.a.wall) + " → " + time(p.b.wall) + ", " + (change > 0 ? "+" : "") + change.toFixed(1) + " %",
      Math.abs(change) < 0.05 ? "still" : change > 0 ? "worse" : "better"));
    button.setAttribute("role", "tab");
    button.onclick = () => choosePhase(index);
    $("phases").append(button);
  });
  $("phases").hidden = data.phases.length < 2;
  for (const by of data.phases[0].groupings) $("by").append(make("option", by));
  $("by").onchange = () => groupBy($("by").value);
  const used = new Set(data.phases.flatMap(p => [...p.a.categorys, ...p.b.categorys]));
  for (const word of Object.keys(data.colours).filter(w => used.has(w))) {
    const item = make("span", word);
    item.style.setProperty("--colour", colour(word));
    $("legend").append(item);
  }
  window.addEventListener("resize", drawAll);
  window.matchMedia("screen and (prefers-color-scheme: dark)").addEventListener("change", drawAll);
  choosePhase(Math.max(0, data.phases.findIndex(p => p.name === "decode")));
})();
