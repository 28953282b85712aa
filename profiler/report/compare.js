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
  const colour = word => data.colours[word] || data.colours.other;
  const state = { phase: 0, by: "category", sort: ["change", true], chosen: null, kernel: null, from: 0, to: 1 };
  const stats = { drawn: 0, frames: [] }; // for tests: rectangles of the last frame, milliseconds of each
  window.tokprof = { data, state, stats };

  // ---------------------------------------------------------------------------------------------------------- phase
  let phase, sides, partner;
  const GUTTER = 92, TOP = 26, ROW = 30, RIBBON = 64;

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
      part.streams = [...new Set(part.stream)].sort((x, y) => x - y);
      part.rowOf = part.stream.map(s => part.streams.indexOf(s));
      part.byRow = part.streams.map((_, row) => part.rowOf.flatMap((r, k) => (r === row ? [k] : [])));
    }
    phase.longest = Math.max(sides.a.wall, sides.b.wall, 1e-3);
    Object.assign(state, { chosen: null, kernel: null, from: -0.01 * phase.longest, to: 1.01 * phase.longest });
    $("phases").childNodes.forEach((b, i) => b.setAttribute("aria-selected", i === index));
    showDetail();
    drawAll();
    fillLedger();
  }

  // ------------------------------------------------------------------------------------------------------ waterfall
  function canvasOf(id, height) {
    const canvas = $(id), ratio = window.devicePixelRatio || 1, width = canvas.clientWidth;
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

  function drawWaterfall() {
    const lines = phase.ledgers.category;
    let gap = 0;
    const steps = [];
    for (const line of lines) {
      gap += line.gap;
      if (line.change - line.gap !== 0) steps.push([line.key, line.change - line.gap]);
    }
    if (gap) steps.push(["gaps", gap]);
    if (Math.abs(phase.residual) > 0.0005) steps.push(["residual", phase.residual]);
    steps.sort((x, y) => Math.abs(y[1]) - Math.abs(x[1]));
    const rowHeight = 24, height = (steps.length + 2) * rowHeight + 4;
    const [pen, width] = canvasOf("waterfall", height);
    let low = Math.min(phase.a.wall, phase.b.wall), high = Math.max(phase.a.wall, phase.b.wall), at = phase.a.wall;
    for (const [, change] of steps) { at += change; low = Math.min(low, at); high = Math.max(high, at); }
    const room = (high - low) || high || 1;
    low = low > 1.5 * room ? low - 0.35 * room : 0; // a long common part is cut off, and said
    const left = 190, right = width - 110, x = us => left + (us - low) / (high - low || 1) * (right - left);
    pen.textBaseline = "middle";
    const label = (text, y, ink) => { pen.textAlign = "right"; pen.fillStyle = ink; pen.fillText(text, left - 12, y); };
    const bar = (y, from, to, fill, text, ink) => {
      pen.fillStyle = fill;
      pen.fillRect(Math.min(x(from), x(to)), y - 8, Math.max(1.5, Math.abs(x(to) - x(from))), 16);
      pen.textAlign = "left"; pen.fillStyle = ink;
      pen.fillText(text, Math.max(x(from), x(to)) + 8, y);
    };
    let y = rowHeight / 2 + 2;
    label("A", y, css("--ink"));
    bar(y, low, phase.a.wall, css("--total"), time(phase.a.wall), css("--ink"));
    at = phase.a.wall;
    for (const [name, change] of steps) {
      const next = at + change;
      pen.strokeStyle = css("--line");
      pen.beginPath(); pen.moveTo(x(at), y + 8); pen.lineTo(x(at), y + rowHeight - 8); pen.stroke();
      y += rowHeight;
      const ink = change > 0 ? css("--worse") : css("--better");
      label(name, y, css("--ink"));
      bar(y, at, next, ink, time(change, true), ink);
      at = next;
    }
    y += rowHeight;
    label("B", y, css("--ink"));
    bar(y, low, phase.b.wall, css("--total"), time(phase.b.wall), css("--ink"));
    if (low > 0) {
      pen.fillStyle = css("--ground"); pen.textAlign = "left"; pen.font = "11px system-ui, sans-serif";
      pen.fillText("axis starts at " + time(low), left + 8, 3 + rowHeight / 2, 160);
    }
  }

  // -------------------------------------------------------------------------------------------------------- timeline
  const heights = () => {
    const a = TOP + sides.a.streams.length * ROW, b = a + RIBBON;
    return { aTop: TOP, aBottom: a, bTop: b, bBottom: b + sides.b.streams.length * ROW, all: b + sides.b.streams.length * ROW + 12 };
  };
  let scale = 1, plotWidth = 1;
  const toX = us => GUTTER + (us - state.from) * scale;
  const toUs = px => state.from + (px - GUTTER) / scale;

  function dimmed(side, row) {
    if (state.chosen !== null) return phase.line_of[state.by][phase.lineOfRow[side][row]] !== state.chosen;
    return false;
  }

  function drawTimeline() {
    const started = performance.now();
    const h = heights();
    const [pen, width] = canvasOf("timeline", h.all);
    plotWidth = width - GUTTER - 10;
    scale = plotWidth / (state.to - state.from);
    stats.drawn = 0;
    drawAxis(pen, width, h);
    for (const [side, top] of [["a", h.aTop], ["b", h.bTop]]) {
      const part = sides[side];
      part.streams.forEach((stream, row) => {
        pen.fillStyle = css("--lane");
        pen.fillRect(GUTTER, top + row * ROW + 2, plotWidth, ROW - 4);
        pen.fillStyle = css("--soft"); pen.textAlign = "right"; pen.textBaseline = "middle";
        pen.fillText((side === "a" ? "A" : "B") + " stream " + stream, GUTTER - 8, top + row * ROW + ROW / 2);
        drawRow(pen, side, part, row, top + row * ROW + 4);
      });
    }
    drawRibbons(pen, h);
    drawChosen(pen, h);
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
  function drawRow(pen, side, part, row, y) {
    let runFrom = 0, runTo = 0, runColour = null;
    const flush = () => {
      if (runTo <= runFrom) return;
      pen.fillStyle = runColour;
      pen.fillRect(runFrom, y, Math.max(0.75, runTo - runFrom), ROW - 8);
      stats.drawn += 1;
      runFrom = runTo;
    };
    for (const k of part.byRow[row]) {
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
        pen.fillRect(left, y, right - left - (right - left > 4 ? 0.75 : 0), ROW - 8);
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

  const dark = new Set(["#0072B2", "#D55E00", "#009E73"]);
  function label(pen, text, left, right, y, fill) {
    pen.fillStyle = dark.has(fill) ? "#fff" : "#111"; pen.textAlign = "left"; pen.textBaseline = "middle";
    const room = Math.floor((right - left - 8) / 6.6);
    const short = text.replace(/^void /, "");
    pen.fillText(short.length > room ? short.slice(0, Math.max(1, room - 1)) + "…" : short, left + 4, y + (ROW - 8) / 2 + 1);
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
      const clip = px => Math.max(GUTTER, Math.min(GUTTER + plotWidth, px));
      pen.globalAlpha = 0.28;
      pen.fillStyle = colour(sides.a.categorys[sides.a.category[a]]);
      pen.beginPath();
      pen.moveTo(clip(a0), h.aBottom); pen.lineTo(clip(Math.max(a1, a0 + 0.7)), h.aBottom);
      pen.lineTo(clip(Math.max(b1, b0 + 0.7)), h.bTop); pen.lineTo(clip(b0), h.bTop);
      pen.fill();
      pen.globalAlpha = 1;
      stats.drawn += 1;
    }
  }

  function drawChosen(pen, h) {
    if (!state.kernel) return;
    const pair = { a: -1, b: -1 };
    pair[state.kernel.side] = state.kernel.row;
    const other = state.kernel.side === "a" ? "b" : "a";
    pair[other] = partner[state.kernel.side][state.kernel.row];
    pen.strokeStyle = css("--mark"); pen.lineWidth = 2;
    for (const [side, top] of [["a", h.aTop], ["b", h.bTop]]) {
      const k = pair[side];
      if (k < 0) continue;
      const from = toX(sides[side].start[k]), to = toX(sides[side].start[k] + sides[side].duration[k]);
      if (to < GUTTER || from > GUTTER + plotWidth) continue;
      pen.strokeRect(Math.max(from, GUTTER) - 1, top + sides[side].rowOf[k] * ROW + 3, Math.max(3, to - from) + 1, ROW - 6);
    }
  }

  function kernelAt(px, py) {
    const h = heights();
    const side = py >= h.aTop && py < h.aBottom ? "a" : py >= h.bTop && py < h.bBottom ? "b" : null;
    if (!side || px < GUTTER) return null;
    const part = sides[side], row = Math.floor((py - (side === "a" ? h.aTop : h.bTop)) / ROW), us = toUs(px);
    const rows = part.byRow[row] || [];
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
    const other = found.side === "a" ? "b" : "a";
    const match = partner[found.side][found.row];
    return { a: found.side === "a" ? found.row : match, b: found.side === "b" ? found.row : match, other };
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
      box.textContent = "Click a kernel to see it beside its counterpart.";
      return;
    }
    const pair = pairOf(state.kernel), table = make("table"), head = make("tr");
    head.append(make("th", ratio(pair) ? "" : ""), make("td", "A"), make("td", "B"));
    table.append(head);
    for (const [name, a, b] of describe(pair)) {
      const row = make("tr");
      row.append(make("th", name), make("td", a), make("td", b));
      table.append(row);
    }
    box.replaceChildren(table);
    if (ratio(pair)) box.append(make("div", ratio(pair)));
  }

  // ---------------------------------------------------------------------------------------------------------- ledger
  const COLUMNS = [["key", "", 0], ["a", "A"], ["b", "B"], ["change", "change"], ["count", "count"], ["duration", "duration"],
    ["set", "only in one"], ["gap", "gaps"], ["counts", "kernels A → B"], ["verdict", ""]];

  function fillLedger() {
    const lines = phase.ledgers[state.by];
    const [column, descending] = state.sort;
    const value = line => column === "key" || column === "verdict" ? line[column] : column === "counts" ? line.counts[1] : ["a", "b"].includes(column) ? line[column] : Math.abs(line[column]);
    const order = lines.map((_, i) => i).sort((i, j) => {
      const x = value(lines[i]), y = value(lines[j]);
      return (x < y ? -1 : x > y ? 1 : 0) * (descending ? -1 : 1);
    });
    const head = make("tr");
    for (const [name, title] of COLUMNS) {
      const cell = make("th", name === "key" ? state.by : title);
      cell.scope = "col"; cell.tabIndex = 0; cell.dataset.column = name;
      if (name === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const sort = () => { state.sort = [name, name === column ? !descending : name !== "key"]; fillLedger(); };
      cell.onclick = sort; cell.onkeydown = e => { if (e.key === "Enter") sort(); };
      head.append(cell);
    }
    $("ledger").tHead.replaceChildren(head);
    const small = phase.longest * 1e-5;
    $("ledger").tBodies[0].replaceChildren(...order.map(index => {
      const line = lines[index], row = make("tr", undefined, index === state.chosen ? "chosen" : "");
      const first = make("td", line.key); first.title = line.key;
      row.append(first, make("td", time(line.a)), make("td", time(line.b)));
      for (const name of ["change", "count", "duration", "set", "gap"]) {
        const change = line[name], quiet = Math.abs(change) < small;
        row.append(make("td", quiet ? "·" : time(change, true), quiet || line.verdict === "noise" ? "still" : change > 0 ? "worse" : "better"));
      }
      const verdict = line.verdict === "one sample" ? "" : line.low === null ? line.verdict : line.verdict + " [" + time(line.low, true) + ", " + time(line.high, true) + "]";
      row.append(make("td", line.counts[0] || line.counts[1] ? line.counts[0] + " → " + line.counts[1] : ""), make("td", verdict, "still"));
      row.tabIndex = 0;
      const choose = () => chooseLine(index === state.chosen ? null : index);
      row.onclick = choose; row.onkeydown = e => { if (e.key === "Enter") choose(); };
      return row;
    }));
    const residual = Math.abs(phase.residual) < 0.0005 ? "nothing" : time(phase.residual, true);
    $("residual").textContent = "sums to " + time(phase.b.wall - phase.a.wall, true) + "; left unexplained: " + residual;
  }

  function chooseLine(index) {
    state.chosen = index;
    if (index !== null) {
      let low = Infinity, high = -Infinity;
      phase.a_row.forEach((a, line) => {
        if (phase.line_of[state.by][line] !== index) return;
        for (const [side, k] of [["a", a], ["b", phase.b_row[line]]]) {
          if (k < 0) continue;
          low = Math.min(low, sides[side].start[k]);
          high = Math.max(high, sides[side].start[k] + sides[side].duration[k]);
        }
      });
      if (high > low) { const room = 0.05 * (high - low); moveTo(low - room, high + room); }
    }
    drawTimeline();
    fillLedger();
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
  canvas.addEventListener("wheel", e => { e.preventDefault(); zoom(e.deltaY > 0 ? 1.2 : 1 / 1.2, e.offsetX); }, { passive: false });
  canvas.addEventListener("pointerdown", e => { drag = { x: e.offsetX, from: state.from, to: state.to, moved: false }; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointermove", e => {
    if (drag) {
      const shift = (e.offsetX - drag.x) / scale;
      drag.moved = drag.moved || Math.abs(e.offsetX - drag.x) > 3;
      if (drag.moved) { moveTo(drag.from - shift, drag.to - shift); redraw(); showTip(null); }
    } else showTip(kernelAt(e.offsetX, e.offsetY), e.clientX, e.clientY);
  });
  canvas.addEventListener("pointerup", e => {
    if (drag && !drag.moved) { state.kernel = kernelAt(e.offsetX, e.offsetY); showDetail(); redraw(); }
    drag = null;
  });
  canvas.addEventListener("pointerleave", () => showTip(null));
  canvas.addEventListener("dblclick", () => { moveTo(-0.01 * phase.longest, 1.01 * phase.longest); redraw(); });
  canvas.addEventListener("keydown", e => {
    const length = state.to - state.from, middle = GUTTER + plotWidth / 2;
    if (e.key === "ArrowLeft" || e.key === "ArrowRight") {
      const by = (e.key === "ArrowLeft" ? -0.1 : 0.1) * length;
      moveTo(state.from + by, state.to + by); redraw(); e.preventDefault();
    } else if (e.key === "+" || e.key === "=") zoom(1 / 1.4, middle);
    else if (e.key === "-") zoom(1.4, middle);
    else if (e.key === "0") { moveTo(-0.01 * phase.longest, 1.01 * phase.longest); redraw(); }
  });

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
        const [pen, width] = canvasOf(canvas.id, 74);
        pen.fillStyle = css("--soft"); pen.textBaseline = "top"; pen.textAlign = "left";
        pen.fillText(side.toUpperCase() + "  " + name + (track ? "  " + low + " – " + high : ": not recorded"), 0, 0);
        if (!track) continue;
        const end = track.time[track.time.length - 1] || 1;
        pen.strokeStyle = css("--" + side); pen.lineWidth = 1.5; pen.beginPath();
        track.time.forEach((t, i) => pen.lineTo(t / end * (width - 2) + 1, 70 - (track.value[i] - low) / (high - low || 1) * 48));
        pen.stroke();
      }
    }
  }

  function drawAll() { drawWaterfall(); drawTimeline(); drawCounters(); }

  // ----------------------------------------------------------------------------------------------------------- begin
  $("name-a").textContent = data.a;
  $("name-b").textContent = data.b;
  $("headline").textContent = data.headline;
  for (const note of data.notes) $("notes").append(make("p", (note.level === "warning" ? "! " : "· ") + note.message + (note.advice ? " → " + note.advice : "")));
  if (!data.phases.length) {
    document.querySelectorAll("main section:not(#notes)").forEach(section => { section.hidden = true; });
    return;
  }
  data.phases.forEach((p, index) => {
    const button = make("button", p.name);
    button.setAttribute("role", "tab");
    button.onclick = () => choosePhase(index);
    $("phases").append(button);
  });
  $("phases").hidden = data.phases.length < 2;
  for (const by of data.phases[0].groupings) $("by").append(make("option", by));
  $("by").onchange = () => { state.by = $("by").value; state.chosen = null; fillLedger(); drawTimeline(); };
  const used = new Set(data.phases.flatMap(p => [...p.a.categorys, ...p.b.categorys]));
  for (const word of Object.keys(data.colours).filter(w => used.has(w))) {
    const item = make("span", word);
    item.style.setProperty("--colour", colour(word));
    $("legend").append(item);
  }
  window.addEventListener("resize", drawAll);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  choosePhase(Math.max(0, data.phases.findIndex(p => p.name === "decode")));
})();
