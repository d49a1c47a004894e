// What a group of people answered, beside what each model says of them.

function shareSection() {
  const update = () => shown.update();
  const benchmark = choice("Benchmark", BENCHMARKS, () => { offer(); update(); });
  const question = choice("Question", [], update);
  const country = choice("Country", [], update);
  const attributes = Object.entries(DATA.attributes).map(([name, { labels }]) => ({
    name, ...choice(name, [["", "any"], ...labels.map((label, code) => [code, label])
      .sort((one, other) => byName(one[1], other[1]))], update),
  }));
  const offer = () => {
    keepChoice(question.list, askedQuestions(benchmark.list.value));
    keepChoice(country.list, [["", "any"],
      ...occurring(DATA.examples[benchmark.list.value].country, DATA.countries)]);
  };
  const reset = element("button", { type: "button", click: () => {
    for (const each of [country, ...attributes]) each.list.value = "";
    update();
  } }, "Any archetype");
  const shown = changing(() => groupShares({
    benchmark: benchmark.list.value, question: question.list.value, country: country.list.value,
    attributes: attributes.map((each) => [each.name, each.list.value]).filter(([, code]) => code !== ""),
  }));
  offer();
  update();
  section("shares", "Survey and predictions",
    "How a group’s answers are spread over the options, and the mean of each model’s probabilities "
    + "(or of its samples) for the same rows.",
    choices(benchmark, question, country, ...attributes, reset), shown.node);
}

function matching({ benchmark, question, country, attributes }) {
  const examples = DATA.examples[benchmark];
  const fits = (row) => `${examples.question[row]} ${examples.options[row]}` === question
    && (country === "" || examples.country[row] === Number(country))
    && attributes.every(([name, code]) => DATA.attributes[name].codes[examples.people[row]] === Number(code));
  return examples.question.map((_, row) => row).filter(fits);
}

function groupShares(filter) {
  const examples = DATA.examples[filter.benchmark];
  const rows = matching(filter);
  const people = new Set(rows.map((row) => examples.people[row])).size;
  const said = `${count(people, "archetype")}, ${count(rows.length, "row")}`;
  const status = (text) => element("p", { role: "status", class: "size" }, text);
  if (!rows.length) return status("No archetype fits these filters and has an answer to this question.");
  const options = DATA.options[examples.options[rows[0]]];
  const survey = meanOf(rows.map((row) => options.map((_, i) => Number(examples.answer[row] === i))));
  const sets = [{ name: "survey (most frequent answer)", shares: survey, colour: "var(--ink)", rows: rows.length }];
  const counted = respondents(examples, rows, options);
  if (counted) sets.push({ ...counted, colour: "var(--soft)", soft: true });
  for (const [place, name] of modelsOn(filter.benchmark)) {
    const told = rows.map((row) => rowShares(DATA.answers[place][filter.benchmark], examples, row)).filter(Boolean);
    sets.push({ name, shares: told.length ? meanOf(told) : null, colour: colour(place), rows: told.length });
  }
  return [status(`${said}.${rows.length < 30 ? " Of so few, shares are uncertain." : ""}`), shareChart(options, sets),
    distanceTable(sets)];
}

function meanOf(lists) {
  return lists[0].map((_, i) => lists.reduce((sum, list) => sum + list[i], 0) / lists.length);
}

// All respondents behind the rows, where the corpus knows how many chose each option.
function respondents(examples, rows, options) {
  if (!examples.counts) return null;
  const sums = options.map((_, i) => rows.reduce((sum, row) => sum + examples.counts[examples.start[row] + i], 0));
  const all = sums.reduce((sum, each) => sum + each, 0);
  if (!all) return null;
  return { name: `survey (all ${count(Math.round(all), "respondent")})`, shares: sums.map((each) => each / all), rows: rows.length };
}

function shareChart(options, sets) {
  const there = sets.filter((set) => set.shares);
  const top = Math.max(...there.flatMap((set) => set.shares), 1e-9);
  return element("div", { class: "charts options" }, options.map((option, i) => {
    const rows = there.map((set) => ({ name: set.name, value: set.shares[i], low: null, high: null,
      said: `${number(100 * set.shares[i], 1)} %`, colour: set.colour, soft: set.soft }));
    return bars(option, rows, { top });
  }));
}

function distanceTable(sets) {
  const [survey] = sets;
  const models = sets.filter((set) => !set.name.startsWith("survey"));
  const rows = models.map((set) => [named(set.name), count(set.rows),
    set.shares ? number(wasserstein(set.shares, survey.shares)) : "–"]);
  return details("Distance from the survey", table(
    "Wasserstein-1 between option shares in steps over the longest way, from 0 to 1",
    ["model", "rows with probabilities", "distance"], rows));
}

function wasserstein(ours, theirs) {
  let [gap, sum] = [0, 0];
  for (let i = 0; i < ours.length - 1; i += 1) {
    gap += ours[i] - theirs[i];
    sum += Math.abs(gap);
  }
  return ours.length > 1 ? sum / (ours.length - 1) : 0;
}
