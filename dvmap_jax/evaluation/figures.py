"""Figures for papers: a comparison and a run's curves in, PNG files out.

They are drawn by matplotlib, which the extra `report` installs, without any display.
"""

import importlib
import io
import pathlib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dvmap_jax.evaluation.comparison import COUNTRY_MAJORITY, Comparison, Estimate
from dvmap_jax.evaluation.evaluated import Evaluation
from dvmap_jax.evaluation.learning_curves import LearningCurve
from dvmap_jax.files import whole_file

INCHES, DPI = 6.0, 200
COLOURS = ("#2f6f9f", "#b4531a", "#3d7a38", "#82499b", "#8a6d10", "#b0355c", "#1d7a78", "#5b5b5b")
DASHES = ("-", "--", ":", "-.")
BINS = 10  # of confidence, in a reliability diagram
LONGEST = 34  # letters of a name in a legend

Figure = Any  # matplotlib.figure.Figure


def write_figures(
    comparison: Comparison, folder: pathlib.Path, *, curves: Sequence[LearningCurve] = ()
) -> list[pathlib.Path]:
    """Draws what the report shows; gives the files. ValueError where matplotlib is absent."""
    kind = _figure_class()
    figures = {
        "accuracy": _accuracy(kind, comparison),
        "calibration": _calibration(kind, comparison),
        "robustness": _robustness(kind, comparison),
        "learning": _learning(kind, curves),
    } | dict(_maps(kind, comparison))
    there = {name: figure for name, figure in figures.items() if figure is not None}
    return [_saved(figure, folder / f"{name}.png") for name, figure in there.items()]


def _figure_class() -> type[Figure]:
    try:
        return importlib.import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise ValueError(
            'figures are drawn by matplotlib, which is absent; pip install "dvmap-jax[report]", or '
            "do without them by --nofigures"
        ) from error


def _saved(figure: Figure, path: pathlib.Path) -> pathlib.Path:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    with whole_file(path) as draft:
        draft.write_bytes(drawn.getvalue())
    return path


def _panels(kind: type[Figure], titles: Sequence[str], *, height: float = 3.4):
    """A figure and its panels, two in a row, each under its title."""
    columns = min(2, len(titles))
    rows = -(-len(titles) // columns)
    size = (INCHES if columns == 1 else INCHES * 1.6, height * rows + 0.4)
    figure = kind(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, title in zip(panels, titles, strict=False):
        panel.set_title(title, fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(titles) :]:
        panel.set_visible(False)
    return figure, panels[: len(titles)]


def _legend(figure: Figure, panel: Any) -> None:
    marks, names = panel.get_legend_handles_labels()
    if len(names) > 1:
        columns = 1 if max(map(len, names)) > 24 else 3
        figure.legend(marks, names, loc="outside lower center", ncols=columns, fontsize=8)


def _short(name: str) -> str:
    """The end of a long name, which tells more than its beginning."""
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"


def _accuracy(kind: type[Figure], comparison: Comparison) -> Figure:
    figure, (panel,) = _panels(kind, ["Accuracy, 95 % intervals over archetypes"])
    names = list(dict.fromkeys([*comparison.models, COUNTRY_MAJORITY]))
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        found = [comparison.line(benchmark, name) for benchmark in comparison.benchmarks]
        told = [line.metrics.get("accuracy") if line else None for line in found]
        at = [i for i, each in enumerate(told) if each]
        values = [each for each in told if each]
        panel.bar(
            [i + (place - (len(names) - 1) / 2) * width for i in at],
            [each.value for each in values],
            width * 0.92,
            yerr=np.array([_arms(each) for each in values]).reshape(-1, 2).T,
            color="#b8bec6" if name == COUNTRY_MAJORITY else COLOURS[place % len(COLOURS)],
            error_kw={"elinewidth": 1, "capsize": 2},
            label="country majority" if name == COUNTRY_MAJORITY else _short(name),
        )
    panel.set_xticks(range(len(comparison.benchmarks)), comparison.benchmarks)
    panel.set_ylabel("accuracy")
    _legend(figure, panel)
    return figure


def _arms(estimate: Estimate | Mapping) -> tuple[float, float]:
    """How far an interval goes below and above its value; nothing where there is none."""
    if isinstance(estimate, Mapping):
        estimate = Estimate(estimate["value"], estimate["low"], estimate["high"])
    if estimate.low is None or estimate.high is None:
        return 0.0, 0.0
    return max(estimate.value - estimate.low, 0), max(estimate.high - estimate.value, 0)


def _calibration(kind: type[Figure], comparison: Comparison) -> Figure | None:
    found = {
        (benchmark, place): reliability(each.rows_of(benchmark))
        for benchmark in comparison.benchmarks
        for place, each in enumerate(comparison.evaluations)
        if benchmark in each.metrics["benchmarks"]
    }
    found = {key: points for key, points in found.items() if len(points)}
    if not found:
        return None
    titles = list(dict.fromkeys(benchmark for benchmark, _ in found))
    figure, panels = _panels(kind, titles)
    for (benchmark, place), points in found.items():
        panel = panels[titles.index(benchmark)]
        style = _line(place, comparison.models[place])
        panel.plot(points[:, 0], points[:, 1], clip_on=False, **style)
    for panel in panels:
        panel.plot([0, 1], [0, 1], color="#8a8f98", linestyle=(0, (4, 4)), linewidth=1)
        panel.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean confidence", ylabel="share right")
    _legend(figure, panels[0])
    return figure


def reliability(rows: pd.DataFrame) -> np.ndarray:
    """(mean confidence, share right, rows) of each tenth of confidence that has rows, [bins, 3].

    Confidence is the largest probability of an option; rows without probabilities are left out.
    """
    told = rows.get("probabilities", [])
    known = [(i, shares) for i, shares in enumerate(told) if isinstance(shares, list)]
    if not known:
        return np.zeros((0, 3))
    sure = np.array([max(shares) for _, shares in known])
    options, answers = rows["options"], rows["answer"]
    right = [options[i][int(np.argmax(shares))] == answers[i] for i, shares in known]
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    sizes = np.bincount(bins, minlength=BINS)
    sums = np.stack([np.bincount(bins, each, BINS) for each in (sure, np.array(right, float))])
    there = sizes > 0
    return np.column_stack([*(sums[:, there] / sizes[there]), sizes[there]])


def _line(place: int, name: str) -> dict[str, Any]:
    style = {"color": COLOURS[place % len(COLOURS)], "linestyle": DASHES[place % len(DASHES)]}
    return style | {"marker": "o", "markersize": 3.5, "linewidth": 1.4, "label": _short(name)}


def _robustness(kind: type[Figure], comparison: Comparison) -> Figure | None:
    found: dict[str, list[tuple[int, Sequence[Mapping]]]] = {}
    for place, each in enumerate(comparison.evaluations):
        for benchmark, curve in _curves(each):
            title = f"{curve['name'].replace('_', ' ')}, {benchmark}"
            found.setdefault(title, []).append((place, curve["points"]))
    if not found:
        return None
    figure, panels = _panels(kind, list(found))
    for panel, curves in zip(panels, found.values(), strict=True):
        for place, points in curves:
            _probed(panel, points, _line(place, comparison.models[place]))
        panel.set_ylabel("accuracy")
    _legend(figure, panels[0])
    return figure


def _curves(evaluation: Evaluation) -> Iterator[tuple[str, Mapping]]:
    for benchmark, own in evaluation.metrics["benchmarks"].items():
        curves = (own["probes"] or {}).get("curves", ())
        yield from ((benchmark, curve) for curve in curves if curve["points"])


def _probed(panel: Any, points: Sequence[Mapping], style: Mapping[str, Any]) -> None:
    """A line over numbers, points over names."""
    named = any(isinstance(point["x"], str) for point in points)
    places = [_wrapped(str(point["x"])) if named else point["x"] for point in points]
    values = [point["value"] for point in points]
    arms = np.array([_arms(point) for point in points]).T
    line = {**style, "linestyle": "none"} if named else style
    panel.errorbar(places, values, yerr=arms, capsize=2, elinewidth=1, **line)
    if named:
        panel.tick_params(axis="x", labelsize=8)
        panel.margins(x=0.2)


def _wrapped(name: str) -> str:
    return textwrap.fill(name.replace("_", " "), 16)


def _maps(kind: type[Figure], comparison: Comparison) -> Iterator[tuple[str, Figure]]:
    """(file's name, figure) of accuracy by country and question, for each model and benchmark."""
    for place, each in enumerate(comparison.evaluations, start=1):
        for benchmark in each.metrics["benchmarks"]:
            rows = each.rows_of(benchmark)
            order = sorted(rows["question_id"].unique(), key=lambda name: (len(name), name))
            shares = rows.pivot_table("correct", "country", "question_id", sort=True)[order]
            title = f"{_short(each.name)} on {benchmark}"
            yield f"map-{benchmark}-model{place}", _map(kind, title, shares)


def _map(kind: type[Figure], title: str, shares: pd.DataFrame) -> Figure:
    size = (2.6 + 0.42 * shares.shape[1], 1.4 + 0.36 * shares.shape[0])
    figure = kind(figsize=(max(size[0], INCHES), size[1]), layout="constrained")
    panel = figure.subplots()
    picture = panel.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    panel.set_xticks(range(shares.shape[1]), shares.columns, fontsize=8)
    panel.set_yticks(range(shares.shape[0]), [_country(name) for name in shares.index], fontsize=8)
    for (row, column), share in np.ndenumerate(shares.to_numpy()):
        ink = "white" if share > 0.6 else "#1c2430"
        said = "" if np.isnan(share) else f"{share:.2f}"
        panel.text(column, row, said, ha="center", va="center", color=ink, fontsize=7)
    figure.colorbar(picture, label="accuracy", shrink=0.9)
    panel.set_title(title, fontsize=10)
    return figure


def _country(name: str) -> str:
    return textwrap.fill(textwrap.shorten(name, 2 * LONGEST, placeholder="…"), LONGEST)


def _learning(kind: type[Figure], curves: Sequence[LearningCurve]) -> Figure | None:
    """Evaluated accuracies and mean rewards, a panel each, of all phases."""
    shown = [each for each in curves if each.name.endswith("/accuracy") or each.name == "reward"]
    if not shown:
        return None
    titles = list(dict.fromkeys(f"{each.name}, {each.phase}" for each in shown))
    figure, panels = _panels(kind, titles, height=3.0)
    for panel, each in zip(panels, shown, strict=True):
        marked = {"marker": "o", "markersize": 3.5} if len(each.steps) <= 30 else {}
        panel.plot(each.steps, each.values, color=COLOURS[0], linewidth=1.4, **marked)
        if each.low and each.high:
            panel.fill_between(each.steps, each.low, each.high, color=COLOURS[0], alpha=0.18)
        panel.set_xlabel("updates")
    return figure
