// The experiment: networks of all methods are chosen one by one, draws budget by budget.

const DATA = JSON.parse(document.getElementById("data").textContent);
const LOOKS = { // of the methods; the star and the blue names are those of the report
  pnag: { kind: "star", look: "c-answer", join: "", onTop: true },
  evo: { kind: "triangle", look: "c-run2", join: "dash1" },
  "nas-mo": { kind: "square", look: "c-run1", join: "dash2" },
  "ofa-mo": { kind: "diamond", look: "c-other", join: "dash1" },
  paper: { kind: "cross", look: "c-run3", join: "dash2" },
  comparator: { kind: "circle", look: "c-known" },
};
const MEANS = {
  paper: "the paper's own architecture; top-1 printed there, fine-tuned",
  comparator: "known network; top-1 published",
};
const percent = (share) => `${(100 * share).toFixed(1)}%`;

function accuracyOverLatency() {
  const networks = [...DATA.networks].sort((a, b) => a.cost - b.cost);
  const at = (network) => [network.cost, network.accuracy * 100];
  const series = Object.entries(LOOKS).map(([group, look]) => {
    const own = networks.filter((network) => network.group === group);
    const names = group === "comparator" ? { names: own.map((network) => network.name) } : {};
    const spread = own.map((network) => network.spread);
    return { ...look, ...names, group, label: DATA.names[group], points: own.map(at), spread };
  });
  const seriesOf = Object.fromEntries(series.map((s) => [s.group, s]));
  const card = networkCard(byId("point-numbers"), byId("point-picture"), DATA);
  const picker = chartPicker(byId("chart"), networks.map(at), {
    say: (i) => {
      const { name, accuracy, cost, spread } = networks[i];
      return `${name}: ${showAccuracy(accuracy, true)} at ${showCost(cost)} ms ±${percent(spread)}`;
    },
    show: (i) => {
      const network = networks[i];
      byId("point-name").replaceChildren(keyNode(seriesOf[network.group]), ` ${network.name}`);
      byId("point-group").textContent = MEANS[network.group]
        || `answer of ${DATA.names[network.group]}; top-1 predicted`;
      byId("legend").hidden = !network.drawing;
      card(network);
    },
    shown: (i) => !seriesOf[networks[i].group].hidden,
  });
  drawLegend(byId("legend"), DATA.legend);
  drawChart(byId("chart"), {
    description: "Networks by latency; arrow keys move along them",
    x: { label: "latency (ms, measured in turns; lines: the middle half of them)", log: true },
    y: { label: "ImageNet top-1 (%)" },
    series,
    toggles: true,
    after: picker.place,
  });
  picker.choose(networks.findLastIndex((network) => network.group === "pnag"));
}

function draws() {
  const { edges, table, budgets } = DATA.draws;
  const methods = Object.keys(budgets[0].methods);
  const background = { kind: "area", look: "c-table", label: "table, sampled uniformly",
    points: histogramOutline(edges, table) };
  const areas = methods.map((method) => ({
    kind: "area", look: LOOKS[method].look, label: DATA.names[method], method, points: [],
  }));
  let budget;
  let redraw = () => {};
  const choose = (row) => {
    for (const area of areas) {
      area.points = histogramOutline(edges, row.methods[area.method].heights);
    }
    budget = row.budget;
    const numbers = [
      ...methods.map((method) => [DATA.names[method], row.methods[method].within]),
      ["Table", row.tableWithin],
    ].map(([name, share]) => el("div", {}, el("dt", {}, `${name}, within ${showCost(row.budget)} ms`),
      el("dd", {}, percent(share))));
    byId("within").replaceChildren(el("dl", { class: "numbers three" }, ...numbers));
    redraw();
  };
  budgets.forEach((row, i) => {
    const input = el("input", { type: "radio", name: "budget", value: i });
    input.addEventListener("change", () => choose(row));
    input.checked = i === Math.floor(budgets.length / 2);
    if (input.checked) choose(row);
    byId("budgets").append(el("label", {}, input, ` ${showCost(row.budget)}`));
  });
  const highest = Math.max(...table,
    ...budgets.flatMap((row) => methods.flatMap((method) => row.methods[method].heights)));
  redraw = drawChart(byId("draws-chart"), {
    description: "Histograms of latencies; the shares within the budget are above",
    x: { label: "latency (ms, predicted)" },
    y: { label: "share of the draws (%)", range: [0, highest * 1.05] },
    height: 300,
    series: [background, ...areas],
    after: (svg, x, y, { top, bottom }) => svg.append(
      svgEl("path", { class: "budget-line", d: `M${x(budget)},${top}V${bottom}` }),
    ),
  });
}

function histogram(host, label, look, { edges, heights }) {
  drawChart(host, {
    description: `Histogram of the table: ${label}`,
    x: { label },
    y: { label: "architectures", range: [0, Math.max(...heights) * 1.05] },
    height: 240,
    series: [{ kind: "area", look, points: histogramOutline(edges, heights) }],
  });
}

themeButton(byId("theme"));
accuracyOverLatency();
draws();
drawColumns(byId("found-here"), "ms", DATA.foundHere);
drawColumns(byId("papers"), "ms", DATA.papers);
drawLegend(byId("archs-legend"), DATA.legend);
trainingCurves(DATA);
histogram(byId("cost-chart"), "latency (ms, predicted)", "c-known", DATA.table.cost);
histogram(byId("accuracy-chart"), "top-1 (%, predicted)", "c-answer", DATA.table.accuracy);
