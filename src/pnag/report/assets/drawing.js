// Architectures as pictures: colour is the kernel, length the width, one block a layer.

const UNITS = 5;
const MAX_DEPTH = 4;

/** The text form d:k:e as five lists of up to four {kernel, width}. */
function unitsOf(arch) {
  const [depths, kernels, widths] = arch.split(":").map((part) => part.split(",").map(Number));
  return depths.map((depth, unit) => Array.from({ length: depth }, (_, layer) => ({
    kernel: kernels[unit * MAX_DEPTH + layer],
    width: widths[unit * MAX_DEPTH + layer],
  })));
}

/** In words, for those who do not see it. */
function archInWords(arch) {
  const units = unitsOf(arch).map((layers, unit) => {
    const words = layers.map((l) => `${l.kernel} by ${l.kernel}, width ${l.width}`);
    return `unit ${unit + 1}: ${words.join("; ")}`;
  });
  return `Architecture. ${units.join(". ")}.`;
}

function slots(layers, named) {
  return Array.from({ length: MAX_DEPTH }, (_, place) => {
    const layer = layers[place];
    if (!layer) return el("div", { class: "slot" });
    const block = el("div", { class: `block k${layer.kernel} w${layer.width}` });
    if (named) {
      block.append(
        el("span", {}, `${layer.kernel}×${layer.kernel}`),
        el("span", {}, `e${layer.width}`),
      );
    }
    return el("div", { class: "slot layer" }, block);
  });
}

/** One architecture, a row a unit. */
function drawUnits(host, arch) {
  host.setAttribute("role", "img");
  host.setAttribute("aria-label", archInWords(arch));
  host.className = "units";
  host.replaceChildren(...unitsOf(arch).map((layers, unit) => el(
    "div", { class: "unit" },
    el("span", { class: "name" }, `Unit ${unit + 1}`),
    ...slots(layers, true),
  )));
}

/** Several, a column each: `columns` are {head, arch, foot}; `corner` names the heads. */
function drawColumns(host, corner, columns) {
  host.className = "columns";
  host.tabIndex = 0; // scrolls sideways where they do not fit
  host.setAttribute("role", "group");
  host.style.gridTemplateColumns = `max-content repeat(${columns.length}, minmax(2.9rem, 11rem))`;
  const cells = [el("span", { class: "name" }, corner), ...columns.map((c) => el("span", { class: "head" }, c.head))];
  for (let unit = 0; unit < UNITS; unit += 1) {
    cells.push(el("span", { class: "name", "aria-hidden": "true" }, `Unit ${unit + 1}`));
    for (const column of columns) {
      const stack = el("div", { class: "stack" }, ...slots(unitsOf(column.arch)[unit], false));
      if (unit === 0) {
        stack.setAttribute("role", "img");
        stack.setAttribute("aria-label", `${column.head} ${corner}. ${archInWords(column.arch)}`);
      } else {
        stack.setAttribute("aria-hidden", "true");
      }
      cells.push(stack);
    }
  }
  cells.push(el("span"), ...columns.map((c) => el("span", { class: "foot" }, ...c.foot.flatMap(
    (line, i) => (i ? [el("br"), line] : [line]),
  ))));
  host.replaceChildren(...cells);
}

/** What colours, lengths and dashed places mean. */
function drawLegend(host) {
  const item = (look, text) => el("li", {}, el("span", { class: `swatch ${look}` }), text);
  host.className = "legend";
  host.replaceChildren(
    ...[3, 5, 7].map((k) => item(`k${k}`, `kernel ${k}×${k}`)),
    ...[3, 4, 6].map((w) => item(`length w${w}`, `width e${w}`)),
    item("empty", "no layer"),
  );
}
