// How a run learned, from what it wrote down.

function learningSection() {
  if (!DATA.learning.length) return;
  const names = [...new Set(DATA.learning.map((curve) => curve.name))].sort(byUse);
  const metric = choice("Quantity", names, () => shown.update());
  const shown = changing(() => learningCharts(metric.list.value));
  shown.update();
  section("learning", "Learning curves",
    "What the run wrote down by the number of its updates; evaluations have 95 % intervals.",
    choices(metric), shown.node);
}

// Evaluated accuracies first, then rewards, then the rest.
function byUse(one, other) {
  const place = (name) => (/^eval.*accuracy$/.test(name) ? 0 : /^eval.*accuracy/.test(name) ? 3
    : /reward/.test(name) ? 1 : 2);
  return place(one) - place(other) || byName(one, other);
}

function learningCharts(name) {
  const all = DATA.learning.filter((curve) => curve.name === name)
    .flatMap((curve) => [curve.values, curve.low ?? [], curve.high ?? []]).flat();
  const [yLow, yHigh] = widened(Math.min(...all), Math.max(...all), 0.06); // one scale for all phases
  const charts = DATA.learning.filter((curve) => curve.name === name).map((curve, place) => {
    const points = curve.steps.map((x, i) => ({ x, y: curve.values[i],
      low: curve.low?.[i] ?? null, high: curve.high?.[i] ?? null }));
    return lines(`${name}, ${curve.phase}`, [{ name, colour: colour(place), points }],
      { xName: "updates", yName: name.split("/").at(-1), yLow, yHigh });
  });
  return element("div", { class: "charts" }, charts);
}
