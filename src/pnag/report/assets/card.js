// One network: its numbers, its picture, the command that exports it.

/**
 * Fill `host` with a card; `about` says how to show a row {arch, accuracy, cost, params, macs, drawing}.
 * With `about.sources` it also says what found a row, its `from`. With `about.choices` rows are no
 * networks but choices, `arch` their JSON: these are listed where a network has its picture.
 * A row without `drawing` has no picture and no command; its `exportOptions` go before the card's.
 * `place` is where the picture goes. Returns a function that shows a row, or nothing for null.
 */
function networkCard(host, place, about) {
  const numbers = [
    [about.accuracyName, (r) => showAccuracy(r.accuracy, about.percent)],
    [about.costName, (r) => `${showCost(r.cost)} ${about.unit}${showSpread(r.spread)}`],
    ...(about.choices ? [] : [
      ["Parameters", (r) => showMillions(r.params)],
      ["MAdds", (r) => showMillions(r.macs)],
    ]),
    ...(about.sources ? [["Found by", (r) => r.from ?? "–"]] : []),
  ].map(([name, text]) => {
    const value = el("dd");
    return { value, text, element: el("div", {}, el("dt", {}, ...marked(name)), value) };
  });
  const picture = el("div");
  const command = commandLine("the command that exports this network");
  host.append(el("dl", { class: "numbers" }, ...numbers.map((n) => n.element)), command.element);
  place.append(picture);
  return (row) => {
    const drawn = Boolean(row && row.drawing); // other people's networks are not of our space
    for (const node of [command.element, picture]) node.hidden = !drawn;
    for (const n of numbers) n.value.textContent = row ? n.text(row) : "–";
    if (about.choices) {
      picture.hidden = !row;
      if (row) listChoices(picture, JSON.parse(row.arch));
    }
    if (!drawn) return;
    drawUnits(picture, row.drawing);
    command.set(exportCommand(row.exported ?? row.arch, row.exportOptions ?? about.exportOptions));
  };
}

/** A value for each choice; a dash where it does not exist. */
function listChoices(host, choices) {
  host.replaceChildren(el("dl", { class: "numbers" }, ...Object.entries(choices).map(
    ([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value ?? "–"))),
  )));
}

/** How sure a measured number is; nothing for a predicted one. */
const showSpread = (spread) => (spread === undefined ? "" : ` ±${(100 * spread).toFixed(1)}%`);

/** Rows of a front that came as columns. */
function rowsOf(columns) {
  return columns.arch.map((arch, i) => ({
    arch,
    accuracy: columns.accuracy[i],
    cost: columns.cost[i],
    params: columns.params?.[i],
    macs: columns.macs?.[i],
    drawing: columns.drawing?.[i],
    from: columns.from?.[i],
  }));
}

/** Index of the best row within a budget, -1 if all cost more; rows by growing cost. */
function bestWithin(rows, budget) {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].cost <= budget) low = middle + 1; else high = middle;
  }
  return low - 1;
}

/** Index of the answer to a budget, -1 for none: its prediction may be `margin` too small. */
function answerWithin(rows, budget, margin) {
  const index = bestWithin(rows, (budget / (1 + margin)) * (1 + 1e-12));
  return index < 0 && rows[0].cost <= budget ? 0 : index; // the cheapest may use up the margin
}

/**
 * A slider and a number field that are one budget. `ends` are the cheapest and highest cost.
 * The slider moves in round steps; the field takes any number. Calls `show(budget)`.
 */
function budgetControl(slider, field, ends, unit, show) {
  const step = niceStep((ends[1] - ends[0]) / 250 || ends[1] / 250);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const low = Math.ceil(ends[0] / step - 1e-9);
  const high = Math.max(low + 1, Math.ceil(ends[1] / step - 1e-9));
  const budgetAt = (place) => {
    const budget = Number((place * step).toFixed(digits));
    return place === low && budget < ends[0] ? ends[0] : budget;
  };
  Object.assign(slider, { min: low, max: high, step: 1 });
  Object.assign(field, { min: 0, step: Number(step.toFixed(digits)) });
  const say = (budget) => slider.setAttribute("aria-valuetext", `${showCost(budget)} ${unit}`);
  slider.addEventListener("input", () => {
    const budget = budgetAt(Number(slider.value));
    field.value = budget;
    say(budget);
    show(budget);
  });
  field.addEventListener("input", () => {
    const budget = Number(field.value);
    if (!(budget > 0)) return;
    slider.value = Math.round(budget / step);
    say(budget);
    show(budget);
  });
  const set = (budget) => {
    slider.value = Math.ceil(budget / step - 1e-9);
    slider.dispatchEvent(new Event("input"));
  };
  return { set, low: budgetAt(low), high: budgetAt(high) };
}
