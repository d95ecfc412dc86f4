// Points of a chart that are chosen one at a time, with arrow keys, pointer or finger.

/**
 * Let the points of a chart in `host` be chosen; `points` are [[x, y], ...] in the order of keys.
 *
 * say(i): a point in words; show(i): called with each choice; shown(i): whether it is drawn now.
 * Returns {choose, place}: choose(i) chooses, place(svg, x, y, frame) belongs into the chart's `after`.
 */
function chartPicker(host, points, { say, show, shown = () => true }) {
  let pick = 0;
  let place = () => {};
  const choose = (index) => {
    pick = index;
    host.setAttribute("aria-valuenow", pick + 1);
    host.setAttribute("aria-valuetext", `${say(pick)}, ${pick + 1} of ${points.length}`);
    show(pick);
    place();
  };
  const walk = (from, by) => { // on to the next one that is drawn
    let to = Math.max(0, Math.min(points.length - 1, from + by));
    while (points[to] && !shown(to)) to += Math.sign(by);
    if (points[to]) choose(to);
  };
  host.setAttribute("role", "slider");
  host.setAttribute("aria-valuemin", 1);
  host.setAttribute("aria-valuemax", points.length);
  host.tabIndex = 0;
  const leap = Math.max(1, Math.round(points.length / 20));
  host.addEventListener("keydown", (event) => {
    const way = {
      ArrowRight: [pick, 1], ArrowUp: [pick, 1], ArrowLeft: [pick, -1], ArrowDown: [pick, -1],
      PageUp: [pick, leap], PageDown: [pick, -leap], Home: [-1, 1], End: [points.length, -1],
    }[event.key];
    if (way === undefined) return;
    event.preventDefault();
    walk(...way);
  });
  const draw = (svg, x, y, frame) => {
    const ring = svgEl("path", { class: "picked", d: "M-7,0a7,7 0 1,0 14,0a7,7 0 1,0 -14,0" });
    svg.append(ring);
    const positions = points.map((p) => [x(p[0]), y(p[1])]);
    place = () => {
      ring.setAttribute("transform", `translate(${positions[pick]})`);
      ring.style.display = shown(pick) ? "" : "none";
    };
    place();
    // Only near a point: on the way to the copy button the choice stays.
    const point = (event) => {
      const box = svg.getBoundingClientRect();
      const ratio = frame.width / box.width;
      const [px, py] = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
      let [best, distance] = [-1, event.pointerType === "touch" ? 60 : 28];
      positions.forEach(([cx, cy], i) => {
        const d = Math.hypot(cx - px, cy - py);
        if (d < distance && shown(i)) [best, distance] = [i, d];
      });
      if (best >= 0) choose(best);
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
  };
  return { choose, place: draw };
}
