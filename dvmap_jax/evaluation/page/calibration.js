// Whether models are as often right as they say they are sure.

const BINS = 10;

function calibrationSection() {
  const benchmark = choice("Benchmark", BENCHMARKS, () => shown.update());
  const shown = changing(() => reliability(benchmark.list.value));
  shown.update();
  section("calibration", "Calibration",
    "Rows in ten bins by the probability of the option a model prefers, against how often it is "
    + "right there. On the dashed line a model is as right as it is sure; below it, too sure. Of "
    + "generated answers the probability is the share of samples.", choices(benchmark), shown.node);
}

function reliability(benchmark) {
  const series = modelsOn(benchmark).map(([place, name]) => ({
    name, colour: colour(place), dash: dashOf(place), points: reliabilityPoints(place, benchmark),
  })).filter((each) => each.points.length);
  if (!series.length) return element("p", {}, "No model gave probabilities here.");
  return lines(`Reliability on ${benchmark}`, series, { xName: "mean confidence", yName: "share right",
    xLow: 0, xHigh: 1, yLow: 0, yHigh: 1, diagonal: true, said: (point) => count(point.rows, "row") });
}

function reliabilityPoints(place, benchmark) {
  const examples = DATA.examples[benchmark];
  const answers = DATA.answers[place][benchmark];
  const bins = Array.from({ length: BINS }, () => ({ sure: 0, right: 0, rows: 0 }));
  examples.question.forEach((_, row) => {
    const shares = rowShares(answers, examples, row);
    if (!shares) return;
    const sure = Math.max(...shares);
    const bin = bins[Math.min(BINS - 1, Math.floor(sure * BINS))];
    bin.sure += sure;
    bin.right += Number(shares.indexOf(sure) === examples.answer[row]);
    bin.rows += 1;
  });
  return bins.filter((bin) => bin.rows).map((bin) =>
    ({ x: bin.sure / bin.rows, y: bin.right / bin.rows, rows: bin.rows }));
}

// Lines differ in their dashes as well, for those who cannot tell colours apart.
function dashOf(place) {
  return [null, "7 4", "2 3", "9 3 2 3"][place % 4];
}
