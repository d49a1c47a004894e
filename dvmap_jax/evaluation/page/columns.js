// What the page was told, and rows of results out of their columns.

const SCALE = 10000;
const DATA = JSON.parse(document.getElementById("data").textContent);
const MODELS = DATA.models.map((model) => model.name);
const BENCHMARKS = DATA.benchmarks.map((benchmark) => benchmark.name);

// Where the options of each row begin in columns that have a number for every option.
for (const examples of Object.values(DATA.examples)) {
  let next = 0;
  examples.start = examples.options.map((set) => {
    const start = next;
    next += DATA.options[set].length;
    return start;
  });
}

// Questions with their options: one that was asked with several lists of options is several.
function askedQuestions(benchmark) {
  const { question, options } = DATA.examples[benchmark];
  const seen = new Map();
  question.forEach((each, row) => seen.set(`${each} ${options[row]}`, [each, options[row]]));
  const many = new Map();
  for (const [each] of seen.values()) many.set(each, (many.get(each) ?? 0) + 1);
  return [...seen.entries()].map(([key, [each, set]]) => {
    const name = DATA.questions[each];
    return [key, many.get(each) > 1 ? `${name}: ${DATA.options[set].join(", ")}` : name];
  }).sort((one, other) => byName(one[1], other[1]));
}

function byName(one, other) {
  return one.localeCompare(other, "en", { numeric: true });
}

// The numbers of a column's labels that occur, by name: [[number, name], ...].
function occurring(codes, names) {
  return [...new Set(codes)].filter((code) => code >= 0).map((code) => [code, names[code]])
    .sort((one, other) => byName(one[1], other[1]));
}

// A row's shares of its options by a model, null where it has none.
function rowShares(answers, examples, row) {
  const start = examples.start[row];
  const size = DATA.options[examples.options[row]].length;
  const found = answers.shares.slice(start, start + size);
  return found[0] < 0 ? null : found.map((share) => share / SCALE);
}

// right, wrong, unreadable or failed: of the option that a row's model settled on.
function outcome(answers, examples, row) {
  if (answers.failure[row] >= 0) return "failed";
  if (answers.predicted[row] < 0) return "unreadable";
  return answers.predicted[row] === examples.answer[row] ? "right" : "wrong";
}

function modelsOn(benchmark) {
  return MODELS.map((name, place) => [place, name]).filter(([place]) => DATA.answers[place][benchmark]);
}
