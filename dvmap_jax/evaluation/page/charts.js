// Charts that fit the width they have: bars of plain elements, and lines over numbers.

const MARGIN = { left: 46, right: 14, top: 10, bottom: 42 };

// Horizontal bars with intervals; rows are {name, value, low, high, said, more, colour, soft}.
// A dashed line marks `reference`; `top` ends the scale where charts share one. Bars below zero go
// to the left of a common zero.
function bars(caption, rows, { reference = null, top = 0 } = {}) {
  const ends = rows.flatMap((row) => [row.value, row.low, row.high]).filter((end) => end !== null);
  const low = Math.min(0, ...ends.filter(Number.isFinite));
  const high = Math.max(low + 1e-9, 0, top, reference ?? 0, ...ends.filter(Number.isFinite));
  const at = (value) => (100 * (value - low)) / (high - low);
  const percent = (value) => `${Math.min(Math.max(value, 0), 100)}%`;
  const mark = (row) => {
    const [left, right] = [Math.min(at(0), at(row.value)), Math.max(at(0), at(row.value))];
    const whisker = row.low === null || row.high === null ? null : element("div", {
      class: "whisker", style: { left: percent(at(row.low)), width: percent(at(row.high) - at(row.low)) },
    });
    const line = reference === null ? null : element("div", {
      class: "reference", style: { left: percent(at(reference)) },
    });
    const zero = low < 0 ? element("div", { class: "zero", style: { left: percent(at(0)) } }) : null;
    return element("div", { class: "track", "aria-hidden": "true" },
      element("div", { class: row.soft ? "fill soft-fill" : "fill",
        style: { left: percent(left), width: percent(right - left), "--fill": row.colour ?? colour(0) } }),
      whisker, zero, line);
  };
  return element("figure", {}, element("figcaption", {}, caption),
    element("div", { class: "bars", role: "list" }, rows.map((row) =>
      element("div", { class: "bar", role: "listitem" },
        element("div", { class: "bar-name" }, breakable(row.name)), mark(row),
        element("div", { class: "number" }, row.said ?? estimate([row.value, row.low, row.high]),
          row.more ? element("small", {}, row.more) : null)))));
}

// Round numbers that cover a range, about `wanted` of them.
function ticks(low, high, wanted) {
  const raw = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= raw);
  const found = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-9; tick += step) {
    found.push(Math.abs(tick) < step * 1e-9 ? 0 : tick);
  }
  return found;
}

function tickText(value) {
  const size = Math.abs(value);
  if (size >= 10000 || (size > 0 && size < 0.001)) return value.toExponential(0).replace("-", "−");
  return String(Number(value.toPrecision(6))).replace("-", "−");
}

// Lines over numbers; series are {name, colour, dash, points: [{x, y, low, high}]}.
// `frame` may give xLow and xHigh, yLow and yHigh, and `diagonal`, a dashed line of equal x and y.
function lines(caption, series, { xName, yName, said, ...frame }) {
  const holder = element("div", { class: "plot" });
  const redraw = () => {
    const width = Math.max(holder.clientWidth, 240);
    if (holder.dataset.width === String(width)) return;
    holder.dataset.width = width;
    holder.replaceChildren(plot(caption, series, { width, xName, yName, ...frame }));
  };
  new ResizeObserver(redraw).observe(holder);
  const keys = series.length < 2 ? null : element("ul", { class: "legend" }, series.map((each) =>
    element("li", {}, drawn("svg", { width: 26, height: 10, "aria-hidden": "true" },
      drawn("line", { x1: 1, x2: 25, y1: 5, y2: 5, style: { stroke: each.colour },
        "stroke-width": 2.5, "stroke-dasharray": each.dash })), each.name)));
  const points = series.flatMap((each) => each.points.map((point) => [each.name, tickText(point.x),
    estimateText([point.y, point.low ?? null, point.high ?? null]), ...(said ? [said(point)] : [])]));
  const numbers = details("Numbers", table(caption, ["", xName, yName, ...(said ? [""] : [])], points));
  return element("figure", {}, element("figcaption", {}, caption), keys, holder, numbers);
}

function plot(caption, series, { width, xName, yName, xLow, xHigh, yLow, yHigh, diagonal }) {
  const height = Math.min(300, Math.max(200, width * 0.5));
  const points = series.flatMap((each) => each.points);
  const ys = points.flatMap((point) => [point.y, point.low, point.high]).filter(Number.isFinite);
  const xs = points.map((point) => point.x);
  const [left, right] = [xLow, xHigh].every(Number.isFinite) ? [xLow, xHigh]
    : widened(Math.min(...xs), Math.max(...xs), 0);
  const [bottom, top] = [yLow, yHigh].every(Number.isFinite) ? [yLow, yHigh]
    : widened(Math.min(...ys), Math.max(...ys), 0.06);
  const x = (value) => MARGIN.left + ((value - left) / (right - left)) * (width - MARGIN.left - MARGIN.right);
  const y = (value) => height - MARGIN.bottom
    - ((value - bottom) / (top - bottom)) * (height - MARGIN.top - MARGIN.bottom);
  const name = `${caption}. ${yName} by ${xName}; ${count(points.length, "point")}, in the table below.`;
  return drawn("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": name },
    axes({ x, y, left, right, bottom, top, width, height, xName, yName }),
    diagonal ? drawn("line", { class: "diagonal", x1: x(left), y1: y(left), x2: x(right), y2: y(right) }) : null,
    series.map((each) => curve(each, x, y)));
}

function widened(low, high, share) {
  const room = (high - low) * share || (high === low ? Math.abs(high) * 0.1 || 0.5 : 0);
  return [low - room, high + room];
}

function axes({ x, y, left, right, bottom, top, width, height, xName, yName }) {
  const across = ticks(bottom, top, 4).map((tick) => [
    drawn("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(tick), y2: y(tick) }),
    drawn("text", { x: MARGIN.left - 7, y: y(tick) + 4, "text-anchor": "end" }, tickText(tick)),
  ]);
  const along = ticks(left, right, width < 420 ? 4 : 7).map((tick) =>
    drawn("text", { x: x(tick), y: height - MARGIN.bottom + 17, "text-anchor": "middle" }, tickText(tick)));
  return [across, along,
    drawn("text", { x: (MARGIN.left + width) / 2, y: height - 5, "text-anchor": "middle" }, xName),
    drawn("text", { class: "y-name", x: 0, y: 0, "text-anchor": "middle",
      transform: `translate(11 ${(height - MARGIN.bottom) / 2 + MARGIN.top / 2}) rotate(-90)` }, yName)];
}

function curve({ name, points, colour: ink, dash }, x, y) {
  const few = points.length <= 30;
  const path = points.map((point, i) => `${i ? "L" : "M"}${x(point.x)} ${y(point.y)}`).join("");
  const ended = points.filter((point) => Number.isFinite(point.low) && Number.isFinite(point.high));
  const band = few || ended.length < 2 ? null : drawn("path", { class: "band", style: { fill: ink },
    d: `M${ended.map((point) => `${x(point.x)} ${y(point.high)}`).join("L")}L${
      [...ended].reverse().map((point) => `${x(point.x)} ${y(point.low)}`).join("L")}Z` });
  return drawn("g", { style: { stroke: ink, fill: ink } }, band,
    few ? ended.map((point) => drawn("line", { class: "end",
      x1: x(point.x), x2: x(point.x), y1: y(point.low), y2: y(point.high) })) : null,
    drawn("path", { class: "curve", d: path, "stroke-dasharray": dash }),
    few ? points.map((point) => drawn("circle", { cx: x(point.x), cy: y(point.y), r: 3.5 },
      drawn("title", {}, `${name}: ${tickText(point.x)}, ${number(point.y)}`))) : null);
}
