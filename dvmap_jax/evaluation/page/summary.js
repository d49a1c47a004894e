// What a person should see first: accuracies beside baselines, and what the models do not beat.

function summarySection() {
  const made = [verdicts(), accuracyTable()];
  if (DATA.generalisation.length > 1) made.push(generalisationTable());
  if (DATA.gaps.length) made.push(gapTable());
  section("summary", "Summary",
    "Accuracy on every benchmark with its 95 % interval, which is over archetypes: rows of one "
    + "archetype are not independent. A call that failed counts as a wrong answer.", made);
  section("metrics", "All metrics", "Arrows point to where a metric is better.", metricTables());
}

function verdicts() {
  if (MODELS.every((name) => name === DATA.majority)) {
    return element("p", { class: "verdict" }, "This is the country majority itself: the most frequent "
      + "answer to a question in the person’s country, counted in training.");
  }
  if (!DATA.majority_gaps.length) {
    return element("p", { class: "verdict poor" }, "There is no country majority to compare with: "
      + "evaluate with a training split, on which it can be fitted. Without it no accuracy says much.");
  }
  const poor = DATA.majority_gaps.filter((gap) => gap.verdict !== "beats");
  const all = DATA.majority_gaps.length;
  const said = poor.length
    ? `In ${poor.length} of ${all} comparisons a model does not beat the country majority: the `
      + "most frequent answer to a question in the person’s country, counted in training."
    : `Every model beats the country majority (the most frequent answer to a question in the `
      + `person’s country, counted in training) on every benchmark: ${count(all, "comparison")}.`;
  const lists = poor.map((gap) => element("li", {}, element("strong", {}, breakable(gap.of)),
    ` ${gap.verdict} it on ${gap.benchmark}: `,
    `${estimateText(gap.estimate, signed)}${gap.p === null ? "" : `, ${chance(gap.p)}`}`));
  return element("div", { class: poor.length ? "verdict poor" : "verdict good" },
    element("p", {}, said), poor.length ? element("ul", {}, lists) : null);
}

function lineOf(benchmark, name) {
  return benchmark.lines.find((line) => line.name === name);
}

// Names of all models, then of all baselines, in the order of the benchmarks.
function entries() {
  const lines = DATA.benchmarks.flatMap((benchmark) => benchmark.lines);
  const names = [...lines.filter((line) => line.model), ...lines.filter((line) => !line.model)];
  return [...new Set(names.map((line) => line.name))];
}

function named(name) {
  const place = MODELS.indexOf(name);
  const dot = place < 0 ? null
    : element("span", { class: "dot", style: { background: colour(place) }, "aria-hidden": "true" });
  const [first, ...rest] = breakable(entryName(name));
  return element("span", {}, element("span", { class: "together" }, dot, first), rest);
}

function accuracyTable() {
  const columns = ["", ...DATA.benchmarks.map((benchmark) => element("span", { class: "estimate" },
    benchmark.name, element("small", {}, `${count(benchmark.rows, "row")}, ${
      count(benchmark.archetypes, "archetype")}`)))];
  const rows = entries().map((name) => [named(name), ...DATA.benchmarks.map((benchmark) => {
    const found = lineOf(benchmark, name)?.metrics.accuracy;
    const gap = DATA.majority_gaps.find((each) => each.benchmark === benchmark.name && each.of === name);
    const below = gap && gap.verdict !== "beats"
      ? element("small", { class: "below" }, "not above the country majority") : null;
    return element("td", {}, estimate(found), below);
  })]);
  return table("Accuracy of models and baselines", columns, rows, "estimates");
}

function generalisationTable() {
  const [first, ...others] = MODELS;
  const shown = [...new Set([...MODELS, DATA.majority])];
  const columns = ["held out of training", ...shown.map(named),
    ...others.map((name) => [named(name), " − ", named(first)])];
  const rows = DATA.generalisation.map(([heldOut, name]) => {
    const benchmark = DATA.benchmarks.find((each) => each.name === name);
    const values = shown.map((each) => lineOf(benchmark, each)?.metrics.accuracy);
    const gaps = others.map((of) => DATA.gaps.find((gap) =>
      gap.benchmark === name && gap.of === of && gap.minus === first));
    return [element("span", { class: "estimate" }, heldOut, element("small", {}, name)),
      ...values.map((value) => estimate(value)), ...gaps.map(gapCell)];
  });
  return table("Generalisation: accuracy by what training did not have", columns, rows, "estimates");
}

function gapCell(gap) {
  if (!gap) return "–";
  return element("span", { class: "estimate" }, estimate(gap.estimate, signed),
    gap.p === null ? null : element("small", {}, chance(gap.p)));
}

function gapTable() {
  const rows = DATA.gaps.map((gap) => [gap.benchmark,
    element("td", { class: "text" }, named(gap.of), " − ", named(gap.minus)),
    estimate(gap.estimate, signed), chance(gap.p), count(gap.rows)]);
  return details("Paired differences of all models", table(
    "Accuracy of one model less that of another on the same rows",
    ["benchmark", "models", "difference", "p-value", "rows"], rows, "estimates"));
}

function isPlaced(name) {
  return /^accuracy\/(country|question)\//.test(name);
}

function isDisparity(name) {
  return name.startsWith("disparity/");
}

function metricTables() {
  const chosen = choice("Benchmark", BENCHMARKS, () => shown.update());
  const shown = changing(() => {
    const benchmark = DATA.benchmarks.find((each) => each.name === chosen.list.value);
    const found = new Set(benchmark.lines.flatMap((line) => Object.keys(line.metrics)));
    const all = Object.keys(DATA.metrics).filter((name) => found.has(name));
    const failures = benchmark.failures.map(([model, kind, times]) =>
      element("li", {}, `${model}: ${count(times, "call")} failed (${kind}), counted as wrong`));
    const parts = [["By country and by question", isPlaced], ["Worst groups and gaps between groups", isDisparity]]
      .map(([title, has]) => [title, all.filter(has)]).filter(([, names]) => names.length);
    const main = all.filter((name) => !isPlaced(name) && !isDisparity(name));
    return [metricTable(benchmark, main, `Metrics on ${benchmark.name}`),
      failures.length ? element("ul", { class: "failures" }, failures) : null,
      parts.map(([title, names]) => details(title, metricTable(benchmark, names, `${title}, ${benchmark.name}`))),
      details("How each metric is defined", definitions(all.filter((name) => !isPlaced(name))))];
  });
  shown.update();
  return [choices(chosen), shown.node, modelTable()];
}

function metricTable(benchmark, names, caption) {
  const rows = names.map((name) => {
    const [arrow, said] = direction(DATA.metrics[name]);
    return [element("span", {}, DATA.metrics[name].title, "\u00a0",
      element("span", { role: "img", "aria-label": said, title: said }, arrow)),
      ...benchmark.lines.map((line) => estimate(line.metrics[name]))];
  });
  return table(caption, ["metric", ...benchmark.lines.map((line) => named(line.name))], rows, "estimates");
}

function direction({ higher, best }) {
  if (best !== null) return [`→\u00a0${best}`, `best at ${best}`];
  if (higher === null) return ["", ""];
  return higher ? ["↑", "higher is better"] : ["↓", "lower is better"];
}

function definitions(names) {
  return element("dl", {}, names.map((name) => {
    const { title, formula, source } = DATA.metrics[name];
    return [element("dt", {}, title, " ", element("code", {}, name)),
      element("dd", {}, formula, source ? ` Source: ${source}.` : "")];
  }));
}

// "name value" of each setting, with the names of those around it.
function leaves(settings, path = "") {
  return Object.entries(settings).filter(([name]) => path || !["model", "mode", "benchmarks"].includes(name))
    .flatMap(([name, value]) => (value && typeof value === "object" && !Array.isArray(value)
      ? leaves(value, `${path}${name}.`) : [`${path}${name} ${value}`]));
}

function modelTable() {
  const rows = DATA.models.map((model) => [named(model.name), model.mode,
    element("td", { class: "text" }, model.train || "nothing"),
    element("td", { class: "text" }, leaves(model.settings).join(", "))]);
  return details("How the models were asked",
    table("Models", ["model", "mode", "baselines fitted on", "settings"], rows));
}
