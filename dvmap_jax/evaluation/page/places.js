// Bars of a metric by benchmark, and accuracy by country and question.

function barSection() {
  const names = Object.keys(DATA.metrics).filter((name) => !isPlaced(name));
  const metric = choice("Metric", names.map((name) => [name, DATA.metrics[name].title]), () => shown.update());
  const shown = changing(() => {
    const lines = DATA.benchmarks.flatMap((benchmark) => benchmark.lines);
    const top = Math.max(0, ...lines.flatMap((line) => line.metrics[metric.list.value] ?? []));
    return element("div", { class: "charts" },
      DATA.benchmarks.map((benchmark) => benchmarkBars(benchmark, metric.list.value, top)));
  });
  shown.update();
  section("bars", "Models and benchmarks",
    "Bars with 95 % intervals; baselines are pale. The dashed line is the country majority.",
    choices(metric), shown.node);
}

function benchmarkBars(benchmark, metric, top) {
  const rows = benchmark.lines.filter((line) => line.metrics[metric]).map((line) => {
    const [value, low, high] = line.metrics[metric];
    const place = MODELS.indexOf(line.name);
    return { name: entryName(line.name), value, low, high,
      soft: !line.model, colour: line.model ? colour(place) : "var(--soft)" };
  });
  if (!rows.length) return element("p", { class: "soft" }, `${benchmark.name}: not measured.`);
  const reference = lineOf(benchmark, DATA.majority)?.metrics[metric]?.[0] ?? null;
  return bars(benchmark.name, rows, { reference, top });
}

function mapSection() {
  const benchmark = choice("Benchmark", BENCHMARKS, () => { offerModels(); shown.update(); });
  const model = choice("Model", [], () => shown.update());
  const offerModels = () => keepChoice(model.list, modelsOn(benchmark.list.value));
  const shown = changing(() => placeMap(Number(model.list.value), benchmark.list.value));
  offerModels();
  shown.update();
  section("map", "Countries and questions",
    "The share of right answers; the darker, the more. Each cell has few rows, so single cells say little.",
    choices(benchmark, model), shown.node);
}

// Offers [value, text] pairs and keeps what was chosen where it is still there.
function keepChoice(list, options) {
  const before = list.value;
  list.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  if (options.some(([value]) => String(value) === before)) list.value = before;
}

function placeMap(model, benchmark) {
  const examples = DATA.examples[benchmark];
  const { correct } = DATA.answers[model][benchmark];
  const sums = new Map();
  const add = (key, value) => {
    const [sum, rows] = sums.get(key) ?? [0, 0];
    sums.set(key, [sum + value / SCALE, rows + 1]);
  };
  correct.forEach((value, row) => {
    const [country, question] = [examples.country[row], examples.question[row]];
    for (const key of [`${country} ${question}`, `${country} all`, `all ${question}`]) add(key, value);
  });
  const questions = occurring(examples.question, DATA.questions);
  const cells = (country) => [...questions.map(([question]) => question), "all"]
    .map((question) => mapCell(sums.get(`${country} ${question}`)));
  const rows = occurring(examples.country, DATA.countries).map(([country, name]) => [name, ...cells(country)]);
  rows.push(["all countries", ...questions.map(([question]) => mapCell(sums.get(`all ${question}`))),
    mapCell([correct.reduce((sum, each) => sum + each / SCALE, 0), correct.length])]);
  return table(`Accuracy of ${MODELS[model]} on ${benchmark}`,
    ["", ...questions.map(([, name]) => name), "all questions"], rows, "map");
}

function mapCell(found) {
  if (!found) return element("td", { class: "none" }, element("span", { "aria-label": "not asked" }, ""));
  const [sum, rows] = found;
  const share = sum / rows;
  return element("td", { class: "heat", title: count(rows, "row"), style: { "--depth": `${(100 * share).toFixed(0)}%` } },
    number(share, 2));
}
