// Architectures as pictures: colour is the kernel, length the width, one block a layer.
// A drawing is {units, resolution?}: of each unit its places, a layer [kernel, width, share] or null.

/** In words, for those who do not see it. */
function archInWords({ units, resolution }) {
  const words = units.map((places, unit) => {
    const layers = places.filter(Boolean).map(([kernel, width]) => `${kernel} by ${kernel}, width ${width}`);
    return ` Unit ${unit + 1}: ${layers.join("; ")}.`;
  });
  return `Architecture${resolution ? ` for ${resolution} by ${resolution} pixels` : ""}.${words.join("")}`;
}

const pixelsOf = ({ resolution }) => (resolution ? [`${resolution}×${resolution} pixels`] : []);

function slots(places, named) {
  return places.map((layer) => {
    if (!layer) return el("div", { class: "slot" });
    const [kernel, width, share] = layer;
    const block = el("div", { class: `block k${kernel}`, style: `width: ${100 * share}%` });
    if (named) {
      block.append(el("span", {}, `${kernel}×${kernel}`), el("span", {}, `e${width}`));
    }
    return el("div", { class: "slot layer" }, block);
  });
}

/** One architecture, a row a unit. */
function drawUnits(host, drawing) {
  host.setAttribute("role", "img");
  host.setAttribute("aria-label", archInWords(drawing));
  host.className = "units";
  host.style.setProperty("--places", Math.max(...drawing.units.map((places) => places.length)));
  host.replaceChildren(
    ...drawing.units.map((places, unit) => el(
      "div", { class: "unit" },
      el("span", { class: "name" }, `Unit ${unit + 1}`),
      ...slots(places, true),
    )),
    ...pixelsOf(drawing).map((text) => el("span", { class: "pixels" }, text)),
  );
}

/** Several of one family, a column each: `columns` are {head, drawing, foot}; `corner` names the heads. */
function drawColumns(host, corner, columns) {
  host.className = "columns";
  host.tabIndex = 0; // scrolls sideways where they do not fit
  host.setAttribute("role", "group");
  host.style.gridTemplateColumns = `max-content repeat(${columns.length}, minmax(2.9rem, 11rem))`;
  const cells = [el("span", { class: "name" }, corner), ...columns.map((c) => el("span", { class: "head" }, c.head))];
  columns[0].drawing.units.forEach((_, unit) => {
    cells.push(el("span", { class: "name", "aria-hidden": "true" }, `Unit ${unit + 1}`));
    for (const { head, drawing } of columns) {
      const stack = el("div", { class: "stack" }, ...slots(drawing.units[unit], false));
      if (unit === 0) {
        stack.setAttribute("role", "img");
        stack.setAttribute("aria-label", `${head} ${corner}. ${archInWords(drawing)}`);
      } else {
        stack.setAttribute("aria-hidden", "true");
      }
      cells.push(stack);
    }
  });
  cells.push(el("span"), ...columns.map(({ foot, drawing }) => el("span", { class: "foot" },
    ...[...foot, ...(drawing.resolution ? [`${drawing.resolution} px`] : [])].flatMap((line, i) => (i ? [el("br"), line] : [line])))));
  host.replaceChildren(...cells);
}

/** What colours, lengths and dashed places mean; `legend` is {kernels, widths: [width, share]}. */
function drawLegend(host, legend) {
  const item = (look, style, text) => el("li", {}, el("span", { class: `swatch ${look}`, style }), text);
  host.className = "legend";
  host.replaceChildren(
    ...legend.kernels.map((k) => item(`k${k}`, "", `kernel ${k}×${k}`)),
    ...legend.widths.map(([w, share]) => item("length", `width: ${1.5 * share}rem`, `width e${w}`)),
    item("empty", "", "no layer"),
  );
}
