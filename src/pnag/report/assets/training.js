// How evaluator and generator were trained.

/** Both curves; `data` holds `evaluator` and `generator` as [[step, value], ...]. */
function trainingCurves(data) {
  const scale = data.percent ? 100 : 1;
  drawChart(byId("evaluator-chart"), {
    description: `Ranking loss of the evaluator, at last ${data.evaluator.at(-1)[1]}`,
    x: { label: "step (whole table)" },
    y: { label: "ranking loss (F)" },
    height: 240,
    series: [{ kind: "line", look: "c-known", points: data.evaluator }],
  });
  if (data.generator.length) {
    drawChart(byId("generator-chart"), {
      description: "Mean accuracy of the generator's samples that are within budget",
      x: { label: "iteration" },
      y: { label: `accuracy within budget${data.percent ? " (%)" : ""}` },
      height: 240,
      series: [{ kind: "line", look: "c-answer",
        points: data.generator.map(([i, a]) => [i, a * scale]) }],
    });
  }
}
