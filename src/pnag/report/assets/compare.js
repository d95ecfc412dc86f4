// The comparison: one budget is moved, and every run answers it.

const DATA = JSON.parse(document.getElementById("data").textContent);
const RUNS = DATA.runs.map((run) => ({ ...run, rows: rowsOf(run.front) }));
const SCALE = DATA.percent ? 100 : 1;
const MARKERS = ["circle", "square", "triangle", "diamond", "star", "cross"];
const costsOf = (run) => [run.rows[0].cost, run.rows[run.rows.length - 1].cost];
const endsOf = (run) => costsOf(run).map((cost) => cost * (1 + run.margin)); // budgets they hold
const answerOf = (run, budget) => answerWithin(run.rows, budget, run.margin);
const ownOf = (run, budget) => run.answered.find((row) => row.budget === budget);
const look = (i) => `c-run${i % 6}`;
let chartBudgets = () => {};

/** A run's budget where the control stands: the same for all, or the same part of its range. */
function budgetOf(run, value) {
  if (DATA.by === "budget") return value;
  const [low, high] = endsOf(run);
  return value >= 100 ? high : low + (value / 100) * (high - low);
}

function explore() {
  const cards = RUNS.map((run, i) => {
    const [numbers, picture] = [el("div"), el("div")];
    const note = el("p", { class: "note" });
    const about = {
      accuracyName: "Accuracy (predicted)", costName: "Cost (predicted)", unit: DATA.unit,
      percent: DATA.percent, exportOptions: run.exportOptions,
    };
    const key = keyNode({ kind: MARKERS[i % MARKERS.length], look: look(i) });
    byId("runs").append(el("article", {}, el("h3", {}, key, ` ${run.name}`), note, numbers, picture));
    const show = networkCard(numbers, picture, about);
    return (value) => {
      const budget = budgetOf(run, value);
      const answer = ownOf(run, budget) ?? run.rows[answerOf(run, budget)] ?? null;
      note.textContent = answer
        ? "" : `The cheapest costs ${showCost(run.rows[0].cost)} ${DATA.unit}.`;
      show(answer);
    };
  });
  const ends = DATA.by === "budget"
    ? [Math.min(...RUNS.map((r) => endsOf(r)[0])), Math.max(...RUNS.map((r) => endsOf(r)[1]))]
    : [0, 100];
  const unit = DATA.by === "budget" ? DATA.unit : "%";
  const control = budgetControl(byId("slider"), byId("budget"), ends, unit, (value) => {
    for (const card of cards) card(value);
    chartBudgets(value);
  });
  byId("lowest").textContent = `${showCost(control.low)} ${unit}`;
  byId("highest").textContent = `${showCost(control.high)} ${unit}`;
  drawLegend(byId("legend"), DATA.legend);
  // where all have an answer
  const common = Math.max(...RUNS.map((r) => endsOf(r)[0]));
  return () => control.set(DATA.by === "budget" ? (common + ends[1]) / 2 : 50);
}

function fronts() {
  const [low, high] = [
    Math.min(...RUNS.map((r) => costsOf(r)[0])), Math.max(...RUNS.map((r) => costsOf(r)[1])),
  ];
  const point = (row) => [row.cost, row.accuracy * SCALE];
  drawChart(byId("chart"), {
    description: `Accuracy over cost of ${RUNS.map((r) => r.name).join(", ")}`,
    x: { label: `cost (${DATA.unit})`, log: high > 4 * low },
    y: { label: `accuracy${DATA.percent ? " (%)" : ""}` },
    series: RUNS.flatMap((run, i) => [
      { kind: "step", look: `${look(i)} dash${i % 3}`, label: run.name, points: run.rows.map(point) },
      { kind: MARKERS[i % MARKERS.length], look: look(i), label: `${run.name}, answers`,
        points: run.budgets.map((b) => ownOf(run, b) ?? run.rows[answerOf(run, b)])
          .filter(Boolean).map(point) },
    ]),
    after: (svg, x, y, frame) => {
      const lines = RUNS.map(() => svgEl("path", { class: "budget-line" }));
      svg.append(...lines);
      chartBudgets = (value) => RUNS.forEach((run, i) => {
        const at = Math.min(frame.right, Math.max(frame.left, x(budgetOf(run, value))));
        lines[i].setAttribute("d", `M${at},${frame.top}V${frame.bottom}`);
      });
      if (byId("budget").value) chartBudgets(Number(byId("budget").value));
    },
  });
}

themeButton(byId("theme"));
const start = explore();
fronts();
start();
