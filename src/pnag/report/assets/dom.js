"use strict";
// Elements, number formats, copying, theme: what everything else needs.

const byId = (id) => document.getElementById(id);

/** An HTML element; attributes by name, children are elements or text. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** An SVG element. */
function svgEl(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const showMillions = (value) => `${Number((value / 1e6).toPrecision(3))}M`;
const showCost = (value) => // counts of parameters and multiply-adds are long
  value >= 1e5 ? showMillions(value) : String(Number(value.toPrecision(4)));
const showAccuracy = (value, percent) =>
  percent ? `${(100 * value).toFixed(2)}%` : String(Number(value.toPrecision(5)));

/** A number's name; its end says in brackets how it came about, which becomes a mark. */
function marked(name) {
  const [, what, kind] = name.match(/^(.*) \((predicted|measured|published|test)\)$/) || [null, name];
  return kind ? [`${what} `, el("span", { class: `kind ${kind}` }, kind)] : [what];
}

/** Copy text; the old way where the browser refuses the new one, as some do for local files. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { style: "position:fixed;opacity:0" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

/** A code line with a button that copies it; returns the element and a setter of its text. */
function commandLine(what) {
  const code = el("code");
  const button = el("button", { type: "button", "aria-label": `Copy ${what}` }, "Copy");
  const said = el("span", { role: "status", class: "heard" }); // the button keeps its own name
  button.addEventListener("click", async () => {
    const active = document.activeElement;
    await copyText(code.textContent);
    active?.focus();
    button.textContent = "Copied";
    said.textContent = `Copied ${what}`;
    setTimeout(() => {
      button.textContent = "Copy";
      said.textContent = "";
    }, 1500);
  });
  return {
    element: el("div", { class: "command" }, code, button, said),
    // An option breaks before its dashes, not within them; what is copied stays the same.
    set: (text) => code.replaceChildren(...text.split(/(?= --)/).flatMap(
      (part, i) => (i ? [" ", el("span", { class: "option" }, part.trim())] : [part]),
    )),
  };
}

function exportCommand(arch, options) {
  return `pnag export ${arch} --to onnx${options ? ` ${options}` : ""}`;
}

/** The button that changes between light and dark, and remembers. */
function themeButton(button) {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches);
  const show = () => { button.textContent = dark() ? "Light theme" : "Dark theme"; };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("pnag-theme", root.dataset.theme); } catch { /* private window */ }
    show();
  });
  try {
    const kept = localStorage.getItem("pnag-theme");
    if (kept) root.dataset.theme = kept;
  } catch { /* private window */ }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}
