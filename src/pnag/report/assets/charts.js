// Small charts as SVG, drawn anew when the window's width changes, so that letters keep their size.

/** 1, 2 or 5 times a power of ten, not below `rough`. */
function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999999);
}

function linearTicks(low, high, wanted) {
  const step = niceStep((high - low) / wanted);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-6; i += 1) {
    ticks.push([i * step, (i * step).toFixed(digits)]);
  }
  return ticks;
}

/** Round numbers of a logarithmic axis, thinned until their labels have room. */
function logTicks(low, high, position) {
  const steps = high / low > 8 ? [1, 2, 5] : [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9];
  const ticks = [];
  let last = -Infinity;
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1) {
    for (const n of steps) {
      const value = n * 10 ** e;
      if (value >= low && value <= high && position(value) - last > 34) {
        ticks.push([value, String(Number(value.toPrecision(3)))]);
        last = position(value);
      }
    }
  }
  return ticks;
}

const SHAPES = {
  circle: "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
  star: "M0,-8L2,-2.6L7.6,-2.5L3.1,1L4.7,6.5L0,3.3L-4.7,6.5L-3.1,1L-7.6,-2.5L-2,-2.6Z",
  square: "M-4,-4h8v8h-8Z",
  triangle: "M0,-5.5L5.2,4H-5.2Z",
  diamond: "M0,-6L6,0L0,6L-6,0Z",
  cross: "M-5,-1.6h3.4v-3.4h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4Z",
};

/** Ends of the line through a measured point, on which the middle half of its turns lies. */
const spreadEnds = ([x], spread) => [x * Math.max(1 - spread, 0.05), x * (1 + spread)];

function extent(series, axis) {
  const values = series.flatMap((s) => s.points.flatMap((p, i) => (
    axis === 0 && s.spread ? spreadEnds(p, s.spread[i]) : [p[axis]])));
  // not Math.min(...values): thousands of arguments are too many for some browsers
  return values.reduce(([l, h], v) => [Math.min(l, v), Math.max(h, v)], [Infinity, -Infinity]);
}

function scale([low, high], [from, to], log) {
  const f = log ? Math.log : (v) => v;
  const slope = (to - from) / (f(high) - f(low) || 1);
  return (value) => from + (f(value) - f(low)) * slope;
}

function widened([low, high], log, share) {
  if (low === high) return log ? [low / 1.2, high * 1.2] : [low - 0.5, high + 0.5];
  if (log) return [low / (high / low) ** share, high * (high / low) ** share];
  return [low - (high - low) * share, high + (high - low) * share];
}

function seriesNode(s, x, y) {
  const at = (p) => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`;
  if (s.kind === "cloud") {
    return svgEl("path", { class: "cloud", d: s.points.map((p) => `M${at(p)}h.01`).join("") });
  }
  if (s.kind === "band") return svgEl("path", { class: "band", d: `M${s.points.map(at).join("L")}Z` });
  if (s.kind === "area") {
    return svgEl("path", { class: `area ${s.look}`, d: `M${s.points.map(at).join("L")}Z` });
  }
  if (s.kind === "line") {
    return svgEl("path", { class: `line ${s.look}`, d: `M${s.points.map(at).join("L")}` });
  }
  if (s.kind === "step") { // the best within a cost stays the same until the next one fits
    const path = s.points.map((p, i) => (i ? `H${x(p[0]).toFixed(1)}V${y(p[1]).toFixed(1)}` : `M${at(p)}`));
    return svgEl("path", { class: `line ${s.look}`, d: path.join("") });
  }
  const dots = s.points.map((p) => svgEl("path", {
    class: `dot ${s.look}`, d: SHAPES[s.kind], transform: `translate(${at(p)})`,
  }));
  const under = (s.spread || []).map((spread, i) => {
    const [from, to] = spreadEnds(s.points[i], spread).map((v) => x(v).toFixed(1));
    return svgEl("path", {
      class: `spread ${s.look}`, d: `M${from},${y(s.points[i][1]).toFixed(1)}H${to}`,
    });
  });
  if (s.join !== undefined) {
    const path = `M${s.points.map(at).join("L")}`;
    under.push(svgEl("path", { class: `line ${s.look} ${s.join}`, d: path }));
  }
  return svgEl("g", {}, ...under, ...dots);
}

/** The outline of a histogram: `edges` are one more than `heights`. */
function histogramOutline(edges, heights) {
  const tops = heights.flatMap((h, i) => [[edges[i], h], [edges[i + 1], h]]);
  return [[edges[0], 0], ...tops, [edges[heights.length], 0]];
}

/** Names beside points, on the first side where they cover neither a point nor a name, or nowhere. */
function nameNodes(s, series, x, y, { left, right, top, bottom }) {
  const around = (px, py) => ({ x0: px - 6, x1: px + 6, y0: py - 6, y1: py + 6 });
  const marked = series.filter((other) => other.kind in SHAPES); // a cloud covers everything anyway
  const dots = marked.flatMap((other) => other.points.map((p) => around(x(p[0]), y(p[1]))));
  const meet = (a, b) => a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1;
  const names = [];
  return s.points.map((p, i) => {
    const [px, py] = [x(p[0]), y(p[1])];
    const width = s.names[i].length * 6.6;
    const starts = [px + 9, px - 9 - width, px - width / 2];
    const boxes = starts.flatMap((x0) => [py + 4, py - 9, py + 17].map((line) => (
      { line, x0, x1: x0 + width, y0: line - 9, y1: line + 2 })));
    const inside = boxes.filter((b) => b.x0 >= left && b.x1 <= right && b.y0 >= top && b.y1 <= bottom);
    const own = around(px, py);
    const taken = [...names, ...dots.filter((d) => d.x0 !== own.x0 || d.y0 !== own.y0), own];
    const box = inside.find((b) => !taken.some((other) => meet(b, other)));
    if (!box) return ""; // no room: the table below names it
    names.push(box);
    return svgEl("text", { class: `label halo ${s.look}`, x: box.x0, y: box.line }, s.names[i]);
  });
}

/** The legend's picture of a series. */
function keyNode(s) {
  const key = svgEl("svg", { class: "key chart", viewBox: "0 0 26 14", "aria-hidden": "true" });
  const x = (v) => v * 26;
  const y = (v) => 14 - v * 14;
  const points = {
    cloud: [[0.2, 0.3], [0.5, 0.7], [0.8, 0.4]],
    band: [[0, 0.1], [1, 0.1], [1, 0.9], [0, 0.9]],
    area: [[0, 0.1], [1, 0.1], [1, 0.9], [0, 0.9]],
    line: [[0, 0.5], [1, 0.5]],
    step: [[0, 0.5], [1, 0.5]],
  }[s.kind] || [[0.5, 0.5]];
  if (s.join !== undefined) {
    const through = { kind: "line", look: `${s.look} ${s.join}`, points: [[0, 0.5], [1, 0.5]] };
    key.append(seriesNode(through, x, y));
  }
  key.append(seriesNode({ ...s, join: undefined, spread: undefined, points }, x, y));
  return key;
}

/** A series' name in the legend as a button that switches it on and off. */
function toggle(s, redraw) {
  const button = el("button", { type: "button", class: "toggle", "aria-pressed": "true" },
    keyNode(s), s.label);
  button.addEventListener("click", () => {
    s.hidden = !s.hidden;
    button.setAttribute("aria-pressed", String(!s.hidden));
    redraw();
  });
  return button;
}

/**
 * Draw a chart into `host`, and a legend of the named series behind it.
 *
 * spec: {description, x: {label, log}, y: {label, range}, series, lines, toggles, height, after}
 *   series: {kind, points: [[x, y], ...], look, label, names, spread, join, hidden}; spread: of each
 *   measured x, as a fraction of it, drawn as a line; join: the look of a line through its markers;
 *   onTop: drawn over the others; range: of an axis that shall not follow its points;
 *   lines: x values where something begins; toggles: the legend's items switch their series on and off;
 *   after(svg, x, y, frame): called at each drawing with the two scales.
 * Returns a function that draws anew, after series have been changed.
 */
function drawChart(host, spec) {
  const series = spec.series.filter((s) => s.points.length);
  let drawn = 0;
  const draw = () => {
    const width = host.clientWidth;
    if (!width) return;
    drawn = width;
    const height = spec.height || (width < 520 ? 300 : 400);
    const [left, right, top, bottom] = [54, width - 12, 10, height - 42];
    const xs = widened(extent(series, 0), spec.x.log, 0.03);
    const ys = spec.y.range || widened(extent(series, 1), false, 0.05);
    const x = scale(xs, [left, right], spec.x.log);
    const y = scale(ys, [bottom, top], false);
    const svg = svgEl("svg", { viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": "true" });
    const xTicks = spec.x.log ? logTicks(...xs, x) : linearTicks(...xs, Math.max(5, width / 90));
    for (const [value, text] of xTicks) {
      svg.append(
        svgEl("path", { class: "grid", d: `M${x(value)},${top}V${bottom}` }),
        svgEl("text", { x: x(value), y: bottom + 17, "text-anchor": "middle" }, text),
      );
    }
    for (const [value, text] of linearTicks(...ys, height / 55)) {
      svg.append(
        svgEl("path", { class: "grid", d: `M${left},${y(value)}H${right}` }),
        svgEl("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, text),
      );
    }
    svg.append(
      svgEl("path", { class: "axis", d: `M${left},${top}V${bottom}H${right}` }),
      svgEl("text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, spec.x.label),
      svgEl("text", {
        transform: `translate(12,${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle",
      }, spec.y.label),
    );
    for (const value of spec.lines || []) {
      svg.append(svgEl("path", { class: "phase", d: `M${x(value)},${top}V${bottom}` }));
    }
    const visible = series.filter((s) => !s.hidden); // the axes stay, whatever is switched off
    const above = (s) => (s.onTop ? 1 : 0);
    for (const s of [...visible].sort((a, b) => above(a) - above(b))) svg.append(seriesNode(s, x, y));
    const roomy = (s) => s.names && s.names.length * 60 <= width; // else names hide the points
    for (const s of visible.filter(roomy)) {
      svg.append(...nameNodes(s, visible, x, y, { left, right, top, bottom }));
    }
    host.replaceChildren(svg);
    if (spec.after) spec.after(svg, x, y, { left, right, top, bottom, width });
  };
  if (!host.hasAttribute("role")) host.setAttribute("role", "img");
  host.setAttribute("aria-label", spec.description);
  const named = series.filter((s) => s.label);
  if (named.length) {
    host.after(el("ul", { class: "legend" }, ...named.map((s) => el("li", {}, ...(spec.toggles
      ? [toggle(s, draw)] : [keyNode(s), s.label])))));
  }
  draw();
  window.addEventListener("resize", () => { if (host.clientWidth !== drawn) draw(); });
  return draw;
}
