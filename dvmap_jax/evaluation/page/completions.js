// Every answer of every model, to be searched and filtered, a page at a time.

const PAGE_SIZE = 20;
const LONG = 700;
const OUTCOMES = [["", "any"], ["right", "right"], ["wrong", "wrong"], ["unreadable", "unreadable"], ["failed", "failed call"]];

function completionSection() {
  const state = { page: 0, found: [] };
  const filter = () => { state.page = 0; state.found = searched(read()); show(); };
  const model = choice("Model", [["", "any"], ...MODELS.map((name, place) => [place, name])], filter);
  const benchmark = choice("Benchmark", [["", "any"], ...BENCHMARKS], filter);
  const country = choice("Country", [["", "any"], ...numbered(DATA.countries)], filter);
  const question = choice("Question", [["", "any"], ...numbered(DATA.questions)], filter);
  const verdict = choice("Answer", OUTCOMES, filter);
  const text = element("input", { type: "search", input: later(filter), autocomplete: "off", spellcheck: "false" });
  const search = labelled("Search completions and archetypes", text, "choice search");
  const read = () => ({ model: model.list.value, benchmark: benchmark.list.value, text: text.value.trim().toLowerCase(),
    country: country.list.value, question: question.list.value, verdict: verdict.list.value });
  const status = element("p", { role: "status", class: "size" });
  const list = element("ol", { class: "answers", tabindex: "-1" });
  const turn = (step) => () => { state.page += step; show(); list.focus({ preventScroll: true }); list.scrollIntoView(); };
  const back = element("button", { type: "button", click: turn(-1) }, "Previous");
  const on = element("button", { type: "button", click: turn(1) }, "Next");
  const show = () => {
    const start = state.page * PAGE_SIZE;
    const shown = state.found.slice(start, start + PAGE_SIZE);
    list.replaceChildren(...shown.map((key) => element("li", {}, answerCard(...key))));
    list.setAttribute("start", start + 1);
    const all = count(state.found.length, "answer");
    status.textContent = shown.length ? `${all}, ${count(start + 1)} to ${count(start + shown.length)} shown.` : "No answer fits.";
    back.disabled = state.page === 0;
    on.disabled = start + PAGE_SIZE >= state.found.length;
  };
  filter();
  section("answers", "Answers", "What was asked, what was expected, and what each model said.",
    choices(search, model, benchmark, country, question, verdict), status, list,
    element("div", { class: "paging", role: "group", "aria-label": "Pages" }, back, on));
}

function numbered(names) {
  return names.map((name, code) => [code, name]).sort((one, other) => byName(one[1], other[1]));
}

function later(act) {
  let waiting = null;
  return () => { clearTimeout(waiting); waiting = setTimeout(act, 150); };
}

// [model, benchmark, row] of all answers that fit, in the order of models, benchmarks and rows.
function searched({ model, benchmark, country, question, verdict, text }) {
  const found = [];
  DATA.answers.forEach((own, place) => {
    if (model !== "" && place !== Number(model)) return;
    for (const [name, answers] of Object.entries(own)) {
      if (benchmark !== "" && name !== benchmark) continue;
      const examples = DATA.examples[name];
      examples.question.forEach((asked, row) => {
        const fits = (question === "" || asked === Number(question))
          && (country === "" || examples.country[row] === Number(country))
          && (verdict === "" || outcome(answers, examples, row) === verdict)
          && (text === "" || holds(answers, examples, row, text));
        if (fits) found.push([place, name, row]);
      });
    }
  });
  return found;
}

const lowered = new Map();

function lower(text) {
  if (!lowered.has(text)) lowered.set(text, text.toLowerCase());
  return lowered.get(text);
}

function holds(answers, examples, row, text) {
  return answers.completions[row].some((completion) => completion.toLowerCase().includes(text))
    || lower(DATA.people[examples.people[row]]).includes(text);
}

function answerCard(place, benchmark, row) {
  const examples = DATA.examples[benchmark];
  const answers = DATA.answers[place][benchmark];
  const verdict = outcome(answers, examples, row);
  const shares = rowShares(answers, examples, row);
  const options = DATA.options[examples.options[row]];
  const marks = { right: "✓ right", wrong: "✗ wrong", unreadable: "? unreadable", failed: "! failed call" };
  return element("article", { class: "answer" },
    element("h3", {}, `${DATA.questions[examples.question[row]]}, ${DATA.countries[examples.country[row]]}`,
      element("span", { class: `badge ${verdict}` }, marks[verdict])),
    element("p", { class: "soft" }, named(MODELS[place]), ` · ${benchmark}, row ${row}`),
    element("p", { class: "person" }, personText(examples.people[row])),
    answers.failure[row] >= 0 ? element("p", {}, `The call failed: ${DATA.failures[answers.failure[row]]}.`) : null,
    element("ul", { class: "asked" }, options.map((option, i) => element("li", {
      class: i === examples.answer[row] ? "expected" : "" }, option,
    element("span", { class: "soft" }, [
      shares ? ` ${number(100 * shares[i], 1)} %` : "",
      i === examples.answer[row] ? " · the survey’s answer" : "",
      i === answers.predicted[row] ? " · the model’s answer" : ""].join(""))))),
    answers.completions[row].map(completionBlock));
}

function personText(people) {
  const told = Object.entries(DATA.attributes)
    .filter(([, { codes }]) => codes[people] >= 0)
    .map(([name, { labels, codes }]) => `${name}: ${labels[codes[people]]}`);
  return told.length ? told.join(" · ") : DATA.people[people] || "nobody in particular";
}

function completionBlock(text, place, all) {
  const name = all.length > 1 ? `Completion ${place + 1} of ${all.length}` : "Completion";
  const whole = element("pre", { tabindex: text.length > LONG ? "0" : null }, text);
  return text.length > LONG ? details(`${name}, ${count(text.length, "character")}`, whole)
    : element("div", {}, element("p", { class: "soft label" }, name), whole);
}
