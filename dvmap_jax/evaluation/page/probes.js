// Whether a model uses the demographics, and what it can bear.

const CURVES = {
  missing: ["Missing attributes", "share of attributes not answered"],
  noise: ["Noisy attributes", "share of attributes replaced"],
  order: ["Order of the options", "order"],
  template: ["Paraphrased prompts", "template"],
  question_only: ["Asked without the person", "prompt"],
};

function probeSections() {
  if (!DATA.probes.length) return;
  const used = DATA.probes.filter((probe) => probe.permutation?.length || probe.dropped?.length || probe.attribution);
  if (used.length) {
    section("demographics", "Does it use the demographics?",
      "Attributes or the country are shuffled among rows, or left out. What a model loses by it, "
      + "it has from them.", used.map(demographics));
  }
  const robust = robustness();
  if (robust.length) {
    section("robustness", "Is it robust?",
      "Accuracy as the prompt is changed, with 95 % intervals; and how often the answer stays the same.",
      element("div", { class: "charts" }, robust));
  }
}

function aboutProbe(probe) {
  const notes = (probe.notes ?? []).map((note) => element("li", {}, note));
  return [element("h3", {}, named(probe.model), ` on ${probe.benchmark}`),
    probe.about ? element("p", { class: "soft" }, probe.about) : null,
    notes.length ? element("ul", { class: "soft" }, notes) : null];
}

function demographics(probe) {
  const ink = colour(MODELS.indexOf(probe.model));
  const parts = [aboutProbe(probe)];
  if (probe.permutation?.length) {
    const rows = probe.permutation.map((each) => [`${each.name} shuffled`, number(each.observed),
      number(each.shuffled), estimate([each.value, each.low, each.high], signed), chance(each.p),
      element("td", { class: "text" }, usesText(each))]);
    parts.push(table("Permutation test", ["", probe.permutation[0].metric, "after shuffling", "lost by it",
      "p-value", ""], rows, "estimates"));
  }
  if (probe.dropped?.length) {
    parts.push(bars("Change of accuracy where an attribute is left out", probe.dropped.map((each) => ({
      ...each, name: each.attribute, said: estimate([each.value, each.low, each.high], signed), colour: ink }))));
  }
  const shares = Object.entries(probe.attribution ?? {}).map(attributionBar).filter(Boolean);
  if (shares.length) {
    parts.push(bars("Accuracy by what the model is told of a person", shares.map((each) => ({ ...each, colour: ink }))));
  }
  return element("article", {}, parts);
}

function usesText({ low, high, value, p }) {
  const told = low === null || high === null ? p !== null && p < 0.05 : low > 0 || high < 0;
  if (!told) return "not told apart from no use";
  return value > 0 ? "is used" : "misleads";
}

// A number or an estimate; what else a file may hold there is left to report.md.
function attributionBar([name, found]) {
  const [value, low, high] = typeof found === "number" ? [found, null, null]
    : [found?.value, found?.low ?? null, found?.high ?? null];
  if (typeof value !== "number") return null;
  const known = { none: "nothing", country: "the country", all: "all attributes" };
  return { name: known[name] ?? name.replaceAll("_", " "), value, low, high };
}

// One chart a curve and benchmark, models side by side.
function robustness() {
  const found = new Map();
  for (const probe of DATA.probes) {
    for (const each of probe.curves ?? []) {
      const key = JSON.stringify([each.name, probe.benchmark]);
      found.set(key, [...(found.get(key) ?? []), { ...each, model: probe.model }]);
    }
  }
  return [...found.entries()].map(([key, curves]) => robustnessChart(...JSON.parse(key), curves));
}

function robustnessChart(name, benchmark, curves) {
  const [title, xName] = CURVES[name] ?? [name.replaceAll("_", " "), name];
  const caption = `${title}, ${benchmark}`;
  const points = curves.flatMap((each) => each.points);
  if (points.every((point) => typeof point.x === "number") && new Set(points.map((point) => point.x)).size > 1) {
    const series = curves.map((each) => {
      const place = MODELS.indexOf(each.model);
      return { name: each.model, colour: colour(place), dash: dashOf(place), points: each.points.map((point) =>
        ({ ...point, y: point.value })) };
    });
    return lines(caption, series, { xName, yName: "accuracy", said: sameText });
  }
  const rows = curves.flatMap((each) => each.points.map((point) => ({ ...point,
    name: [String(point.x).replaceAll("_", " "), ...(curves.length > 1 ? [` · ${each.model}`] : [])].join(""),
    more: sameText(point),
    colour: colour(MODELS.indexOf(each.model)) })));
  return bars(caption, rows);
}

function sameText(point) {
  const share = point.agreement;
  return typeof share === "number" ? `same answer in ${number(100 * share, 1)} %` : "";
}
