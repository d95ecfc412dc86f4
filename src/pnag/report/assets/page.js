// The report: a budget is moved, and everything that belongs to it follows.

const DATA = JSON.parse(document.getElementById("data").textContent);
const FRONT = rowsOf(DATA.front);
const SCALE = DATA.percent ? 100 : 1;
let chartBudget = () => {}; // moves the chart's line, once there is a chart

function explore() {
  const show = networkCard(byId("numbers"), byId("picture"), DATA);
  const note = byId("note");
  const [cheapest, dearest] = [FRONT[0], FRONT[FRONT.length - 1]];
  const above = 1 + DATA.margin; // a prediction, by what it may be off
  const unit = DATA.unit;
  const update = (budget) => {
    let index = bestWithin(FRONT, budget / above);
    note.textContent = "";
    if (index < 0 && cheapest.cost <= budget) {
      index = 0;
      note.textContent = `Less than ${(100 * DATA.margin).toFixed(1)}% above the cheapest `
        + "architecture's cost, which is how far the prediction may be off.";
    } else if (index < 0) {
      note.textContent = `No architecture has a cost within ${showCost(budget)} ${unit}: `
        + `the cheapest costs ${showCost(cheapest.cost)} ${unit}.`;
    } else if (budget > dearest.cost * above * 1.02) {
      note.textContent = `More than the best architecture costs (${showCost(dearest.cost)} `
        + `${unit}); no larger one is predicted to be better.`;
    }
    show(FRONT[index] || null);
    chartBudget(budget);
  };
  const control = budgetControl(
    byId("slider"), byId("budget"), [cheapest.cost * above, dearest.cost * above], unit,
    update,
  );
  byId("lowest").textContent = `${showCost(control.low)} ${unit}`;
  byId("highest").textContent = `${showCost(control.high)} ${unit}`;
  drawLegend(byId("legend"), DATA.legend);
  const middle = DATA.answers[Math.floor(DATA.answers.length / 2)].budget;
  return () => control.set(Math.min(middle, control.high));
}

function accuracyOverCost() {
  const answers = DATA.answers.map((a) => [a.measured_ms ?? a.cost, a.accuracy * SCALE]);
  const spread = DATA.timed ? DATA.answers.map((a) => a.measured_spread) : undefined;
  const tested = DATA.answers.filter((a) => a.test_top1 !== undefined)
    .map((a) => [a.measured_ms ?? a.cost, a.test_top1 * SCALE]);
  const host = byId("chart");
  const show = networkCard(byId("point-numbers"), byId("point-picture"), DATA);
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
      { kind: "step", look: "c-front", label: "front (predicted)",
        points: FRONT.map((row) => [row.cost, row.accuracy * SCALE]) },
      { kind: "circle", look: "c-known", label: "known networks (published, measured)",
        points: DATA.known.map((k) => [k.measured_ms, k.top1 * SCALE]),
        spread: DATA.known.map((k) => k.measured_spread),
        names: DATA.known.map((k) => k.name) },
      { kind: "step", look: "c-other dash1", label: "published front (measured)",
        points: DATA.published.front.map((p) => [p.measured_ms, p.top1 * SCALE]) },
      { kind: "triangle", look: "c-other", label: "today's networks (published, measured; * with "
        + "more images than ImageNet-1k's, or a teacher)",
        points: DATA.published.timed.map((p) => [p.measured_ms, p.top1 * SCALE]),
        spread: DATA.published.timed.map((p) => p.measured_spread),
        names: DATA.published.timed.map((p) => (p.on_front ? p.name : "")) },
      { kind: "square", look: "c-known", label: "answers, fine-tuned (test images)",
        points: tested, spread },
      { kind: "star", look: "c-answer",
        label: DATA.timed ? "answers (latency measured; lines: the middle half of the turns)"
          : "answers", points: answers, spread },
    ],
    after: observe,
  });
  picker.choose(bestWithin(FRONT, DATA.answers[Math.floor(DATA.answers.length / 2)].budget));
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
    command.set(exportCommand(a.arch, DATA.exportOptions));
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
gallery();
if (DATA.latency) latencyModel();
if (DATA.supernet) supernet();
trainingCurves(DATA);
