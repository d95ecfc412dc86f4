// The report: a budget is moved, and everything that belongs to it follows.

const DATA = JSON.parse(document.getElementById("data").textContent);
const FRONT = rowsOf(DATA.front);
const SCALE = DATA.percent ? 100 : 1;
const MIDDLE = DATA.answers[Math.floor(DATA.answers.length / 2)].budget; // shown at first
const ABOVE = 1 + DATA.margin; // a prediction, by what it may be off
const SOURCED = { ...DATA, choices: !DATA.legend,
  sources: FRONT.some((row) => row.from) || Boolean(DATA.vectors) };
const MEANINGS = { // of costs that `pnag generate` knows by these names
  params: "parameters", macs: "multiply-adds", memory: "peak bytes of activations",
};
let chartBudget = () => {}; // moves the chart's line, once there is a chart

/** Index of the front's answer to a budget, -1 for none. */
function answerTo(budget) {
  return answerWithin(FRONT, budget, DATA.margin);
}

/**
 * A slider for each further cost, at first where it limits nothing. Calls `moved` with each move.
 * Returns {answer, text, start}: answer(budget) is the best row within all budgets, null for none,
 * and undefined while no further cost is limited; text() says the further budgets; start() sets all.
 */
function furtherBudgets(moved) {
  if (!DATA.vectors) return { answer: () => undefined, text: () => "", start: () => {} };
  const rows = rowsOf(DATA.vectors); // best first
  const costs = Object.entries(DATA.vectors.further).map(([name, values], i) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const slider = el("input", { type: "range", id: `slider-${i}`, "aria-label": `Budget of ${name}` });
    const field = el("input", { type: "number", id: `budget-${i}`, inputmode: "decimal" });
    const said = el("span", {}, "no limit");
    byId("further").append(el("div", { class: "further" },
      el("div", { class: "budget" }, el("label", { for: `budget-${i}` }, name), field, said),
      slider,
      el("div", { class: "ends" }, el("span", {}, showCost(low)),
        el("span", {}, MEANINGS[name] ?? ""), el("span", {}, showCost(high)))));
    const cost = { name, values, limit: Infinity };
    const control = budgetControl(slider, field, [low, high], name, (budget) => {
      cost.limit = budget >= high ? Infinity : budget;
      said.textContent = cost.limit === Infinity ? "no limit" : showCost(cost.limit);
      moved();
    });
    return Object.assign(cost, { start: () => control.set(control.high) });
  });
  const limited = () => costs.filter((cost) => cost.limit < Infinity);
  const within = (budget) => {
    const limits = limited();
    return rows.find((row, i) => row.cost * ABOVE <= budget
      && limits.every((cost) => cost.values[i] <= cost.limit));
  };
  return {
    answer: (budget) => (limited().length ? within(budget) ?? null : undefined),
    text: () => limited().map((cost) => `${showCost(cost.limit)} ${cost.name}`).join(" and "),
    start: () => costs.forEach((cost) => cost.start()),
  };
}

function explore() {
  const show = networkCard(byId("numbers"), byId("picture"), SOURCED);
  const note = byId("note");
  const [cheapest, dearest] = [FRONT[0], FRONT[FRONT.length - 1]];
  const unit = DATA.unit;
  let asked = 0;
  const further = furtherBudgets(() => { if (asked) update(asked); });
  const update = (budget) => {
    asked = budget;
    chartBudget(budget);
    note.textContent = "";
    const answer = further.answer(budget);
    if (answer !== undefined) {
      if (!answer) {
        note.textContent = `Nothing known is within ${showCost(budget)} ${unit} and `
          + `${further.text()}.`;
      }
      show(answer);
      return;
    }
    const own = DATA.supernet && DATA.answers.find((row) => row.budget === budget);
    if (own) { // chosen by more than the front, and fine-tuned
      note.textContent = "The run's own answer, which it has fine-tuned.";
      show(own);
      return;
    }
    const index = answerTo(budget);
    if (index === 0 && cheapest.cost * ABOVE > budget) {
      note.textContent = `Less than ${(100 * DATA.margin).toFixed(1)}% above the cheapest `
        + "architecture's cost, which is how far the prediction may be off.";
    } else if (index < 0) {
      note.textContent = `No architecture has a cost within ${showCost(budget)} ${unit}: `
        + `the cheapest costs ${showCost(cheapest.cost)} ${unit}.`;
    } else if (budget > dearest.cost * ABOVE * 1.02) {
      note.textContent = `More than the best architecture costs (${showCost(dearest.cost)} `
        + `${unit}); no larger one is predicted to be better.`;
    }
    show(FRONT[index] || null);
  };
  const control = budgetControl(
    byId("slider"), byId("budget"), [cheapest.cost * ABOVE, dearest.cost * ABOVE], unit,
    update,
  );
  byId("lowest").textContent = `${showCost(control.low)} ${unit}`;
  byId("highest").textContent = `${showCost(control.high)} ${unit}`;
  if (DATA.legend) drawLegend(byId("legend"), DATA.legend);
  return () => {
    further.start();
    control.set(Math.min(MIDDLE, control.high));
  };
}

function accuracyOverCost() {
  const answers = DATA.answers.map((a) => [a.measured_ms ?? a.cost, a.accuracy * SCALE]);
  const spread = DATA.timed ? DATA.answers.map((a) => a.measured_spread) : undefined;
  const tested = DATA.answers.filter((a) => a.test_top1 !== undefined)
    .map((a) => [a.measured_ms ?? a.cost, a.test_top1 * SCALE]);
  const host = byId("chart");
  const show = networkCard(byId("point-numbers"), byId("point-picture"), SOURCED);
  const picker = chartPicker(host, FRONT.map((row) => [row.cost, row.accuracy * SCALE]), {
    say: (i) => `${showAccuracy(FRONT[i].accuracy, DATA.percent)} at ${showCost(FRONT[i].cost)} `
      + DATA.unit,
    show: (i) => show(FRONT[i]),
  });
  const observe = (svg, x, y, frame) => {
    const line = svgEl("path", { class: "budget-line" });
    svg.append(line);
    let last = Number(byId("budget").value);
    chartBudget = (budget) => {
      last = budget;
      const at = Math.min(frame.right, Math.max(frame.left, x(budget)));
      line.setAttribute("d", `M${at},${frame.top}V${frame.bottom}`);
    };
    if (last > 0) chartBudget(last);
    picker.place(svg, x, y, frame);
  };
  drawChart(host, {
    description: "Points of the front; arrow keys move along it",
    x: { label: `${DATA.costAxis} (${DATA.unit})`, log: DATA.timed },
    y: { label: `${DATA.accuracyAxis}${DATA.percent ? " (%)" : ""}` },
    series: [
      { kind: "cloud", label: DATA.tableName,
        points: DATA.table.cost.map((c, i) => [c, DATA.table.accuracy[i] * SCALE]) },
      { kind: "step", look: "c-front dash3", label: "front (predicted)",
        points: FRONT.map((row) => [row.cost, row.accuracy * SCALE]) },
      { kind: "circle", look: "c-known", label: "known networks (published, measured)",
        points: DATA.known.map((k) => [k.measured_ms, k.top1 * SCALE]),
        spread: DATA.known.map((k) => k.measured_spread),
        names: DATA.known.map((k) => k.name) },
      { kind: "step", look: "c-other", label: "published front (measured)",
        points: DATA.published.front.map((p) => [p.measured_ms, p.top1 * SCALE]) },
      { kind: "triangle", look: "c-other", label: "today's networks (published, measured; * with "
        + "more images than ImageNet-1k's, or a teacher)",
        points: DATA.published.timed.map((p) => [p.measured_ms, p.top1 * SCALE]),
        spread: DATA.published.timed.map((p) => p.measured_spread),
        names: DATA.published.timed.map((p) => (p.on_front ? p.name : "")) },
      { kind: "triangle", look: "c-other", label: "published networks, fine-tuned (measured on test images)",
        points: DATA.tuned.map((p) => [p.measured_ms, p.test_top1 * SCALE]),
        spread: DATA.tuned.map((p) => p.measured_spread),
        names: DATA.tuned.map((p) => p.name) },
      { kind: "square", look: "c-known", label: "answers, fine-tuned (measured on test images)",
        points: tested, spread },
      { kind: "star", look: "c-answer hollow", label: DATA.timed
        ? `answers (${DATA.accuracyAxis} predicted, latency measured; lines: the middle half of the `
          + "turns)" : "answers (predicted)", points: answers, spread },
    ],
    after: observe,
  });
  picker.choose(Math.max(0, answerTo(MIDDLE)));
}

function gallery() {
  drawLegend(byId("gallery-legend"), DATA.legend);
  drawColumns(byId("gallery"), DATA.unit, DATA.answers.map((a) => ({
    head: showCost(a.budget),
    drawing: a.drawing,
    foot: [showAccuracy(a.accuracy, DATA.percent), ...(a.params ? [showMillions(a.params)] : [])],
  })));
  byId("archs").append(...DATA.answers.map((a) => {
    const command = commandLine(`the command that exports the answer for ${showCost(a.budget)}`);
    command.set(exportCommand(a.exported ?? a.arch, a.exportOptions ?? DATA.exportOptions));
    return el("li", {}, el("strong", {}, `${showCost(a.budget)} ${DATA.unit}`), command.element);
  }));
}

function latencyModel() {
  const { measured, predicted } = DATA.latency;
  const unseen = measured.map((m, i) => [m, predicted[i]]);
  const answers = DATA.answers.map((a) => [a.measured_ms, a.cost]);
  const all = [...unseen, ...answers].map((p) => p[0]);
  const [low, high] = [Math.min(...all) * 0.97, Math.max(...all) * 1.03];
  drawChart(byId("latency-chart"), {
    description: "Predicted over measured latency of unseen networks and of the answers",
    x: { label: "measured (ms)" },
    y: { label: "predicted (ms)" },
    height: 320,
    series: [
      { kind: "band", label: "within 5 %", points: [
        [low, low * 0.95], [high, high * 0.95], [high, high * 1.05], [low, low * 1.05]] },
      { kind: "circle", look: "c-known", label: "networks that calibration never saw",
        points: unseen, spread: DATA.latency.spread },
      { kind: "star", look: "c-answer", label: "answers (lines: the middle half of the turns)",
        points: answers, spread: DATA.answers.map((a) => a.measured_spread) },
    ],
  });
}

function supernet() {
  const rows = DATA.supernet;
  const starts = rows.filter((row, i) => i && rows[i - 1].phase !== row.phase).map((r) => r.step);
  const looked = rows.filter((row) => row.largest !== undefined);
  const top1 = (name) => looked.map((row) => [row.step, row[name] * 100]);
  const x = { label: "step (dotted: a phase begins)" };
  const losses = rows.filter((row) => row.loss !== undefined);
  if (losses.length) drawChart(byId("supernet-loss"), {
    description: "Loss of the supernet while it trained",
    x, y: { label: "loss" }, height: 240, lines: starts,
    series: [{ kind: "line", look: "c-known", points: losses.map((row) => [row.step, row.loss]) }],
  });
  drawChart(byId("supernet-top1"), {
    description: "Top-1 on validation images of the smallest, random and largest subnet",
    x, y: { label: "top-1, validation (%)" }, height: 240, lines: starts,
    series: [
      { kind: "line", look: "c-known", label: "smallest", points: top1("smallest") },
      { kind: "line", look: "c-other dash1", label: "random", points: top1("random") },
      { kind: "line", look: "c-answer dash2", label: "largest", points: top1("largest") },
    ],
  });
}

themeButton(byId("theme"));
const start = explore();
accuracyOverCost();
start();
if (DATA.legend) gallery(); // rows of choices have no pictures
if (DATA.latency) latencyModel();
if (DATA.supernet) supernet();
trainingCurves(DATA);
