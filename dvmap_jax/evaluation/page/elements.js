// Elements of the page. Texts only ever become text nodes, so data cannot become markup.

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 8;

function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else if (name === "style") setStyles(node, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined));
  return node;
}

function setStyles(node, styles) {
  for (const [name, value] of Object.entries(styles)) node.style.setProperty(name, value);
}

// A section of the page with its place in the list of sections.
function section(id, title, said, ...children) {
  const heading = element("h2", { id }, title);
  document.getElementById("main").append(
    element("section", { "aria-labelledby": id }, heading, said ? element("p", {}, said) : null, children),
  );
  document.getElementById("sections").append(
    element("li", {}, element("a", { href: `#${id}` }, title)),
  );
}

// A labelled list to choose from; options are texts or [value, text].
function choice(label, options, changed) {
  const list = element("select", { change: changed }, options.map((option) => {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    return element("option", { value }, text);
  }));
  return { node: labelled(label, list), list };
}

let labels = 0;

function labelled(text, control, kind = "choice") {
  labels += 1;
  control.id = `choice-${labels}`;
  return element("div", { class: kind }, element("label", { for: control.id }, text), control);
}

function choices(...made) {
  return element("div", { class: "choices" }, made.map((each) => each.node ?? each));
}

// Keeps a part of the page that is made again whenever a choice changes.
function changing(make) {
  const holder = element("div", { class: "changing" });
  return { node: holder, update: () => holder.replaceChildren(...[make()].flat(3).filter(Boolean)) };
}

// A table that scrolls by itself where it is wider than the page; cells are texts or elements.
function table(caption, columns, rows, kind = "") {
  const head = columns.map((column) => element("th", { scope: "col" }, column));
  const body = rows.map(([first, ...cells]) => element("tr", {},
    element("th", { scope: "row" }, first),
    cells.map((cell) => (cell?.tagName === "TD" ? cell : element("td", {}, cell ?? "–")))));
  return element("figure", { class: "table" }, element("figcaption", {}, caption),
    element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption },
      element("table", { class: kind, "aria-label": caption },
        element("thead", {}, element("tr", {}, head)), element("tbody", {}, body))));
}

function details(summary, ...children) {
  return element("details", {}, element("summary", {}, summary), children);
}

function colour(place) {
  return `var(--m${place % COLOURS})`;
}

function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return value.toFixed(digits).replace("-", "−");
}

function signed(value) {
  return (value > 0 ? "+" : "") + number(value);
}

function count(value, noun) {
  const said = value.toLocaleString("en");
  return noun ? `${said} ${noun}${value === 1 ? "" : "s"}` : said;
}

function chance(p) {
  if (p === null || p === undefined) return "";
  return p < 0.001 ? "p < 0.001" : `p = ${number(p)}`;
}

// A value over its interval, for a cell of a table.
function estimate(found, form = number) {
  if (!found) return "–";
  const [value, low, high] = found;
  if (low === null || high === null) return element("span", {}, form(value));
  return element("span", { class: "estimate" }, form(value),
    element("small", {}, `${form(low)} to ${form(high)}`));
}

function estimateText(found, form = number) {
  const [value, low, high] = found;
  return low === null || high === null ? form(value) : `${form(value)} (${form(low)} to ${form(high)})`;
}

// A long name that may go on in the next line after its parts.
function breakable(name) {
  return name.split(/(?<=[/#._ -])/).flatMap((part) => [part, element("wbr")]).slice(0, -1);
}

// What a model or a baseline is called on the page.
function entryName(name) {
  const kind = "baseline:";
  if (!name.startsWith(kind)) return name;
  const said = name.slice(kind.length).replaceAll("_", " ");
  return name === DATA.majority ? "country majority (baseline)" : `${said} (baseline)`;
}
