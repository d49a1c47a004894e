"""Folders of results as an evaluation leaves them, of invented people in invented countries."""

import dataclasses
import json
import math
import pathlib
from collections import Counter

import numpy as np

COUNTRIES = (
    *("Arvenia", "Belmora", "Cordaland", "Drell", "Elstad", "Fennmark"),
    "United Provinces of the Northern Isles and Their Dependencies",
)
SCALES = (
    ("Very important", "Rather important", "Not very important", "Not at all important"),
    ("Agree strongly", "Agree", "Neither agree nor disagree", "Disagree", "Disagree strongly"),
    ("Low", "Medium", "High"),
    ("Yes", "No"),
)
QUESTIONS = {f"K{number}": SCALES[number % len(SCALES)] for number in range(1, 17)}
LABELS = {
    "Gender": ("Female", "Male"),
    "Life Stage": ("Young", "Middle", "Late", "Older Adulthood"),
    "Religion": ("Sun", "Moon", "None", "Church of the very long and carefully spelled name; nfd"),
    "Income Bracket": ("Low", "Middle", "High"),
}
HOSTILE = "</script><script>window.broken=1</script><!-- <b>bold</b> <img src=x onerror=alert(1)>"
MAJORITY = "baseline:majority_country_question"
BENCHMARKS = ("test", "cross_demographic", "cross_country", "cross_value")


@dataclasses.dataclass(frozen=True)
class Invented:
    """One model: how much of the truth it knows, how it is asked, and what goes wrong."""

    name: str
    skill: float
    mode: str = "score"
    failed: float = 0.0
    unreadable: float = 0.0
    probes: bool = False


MODELS = (
    Invented("runs/warm-start/export", 0.25),
    Invented("runs/grpo/export", 0.9, probes=True),
    Invented("https://models.invented.example/v1#large-chat-8b", 0.5, "generate", 0.03, 0.08),
)


def write_evaluations(
    folder: pathlib.Path, *, archetypes: int = 24, benchmarks=BENCHMARKS, models=MODELS
) -> list[pathlib.Path]:
    """A folder for each model, with rows of `archetypes` times 16 questions a benchmark."""
    folders = []
    for number, model in enumerate(models):
        folders.append(folder / f"model{number}")
        write_evaluation(folders[-1], model, archetypes=archetypes, benchmarks=benchmarks)
    return folders


def write_evaluation(folder, model, *, archetypes=24, benchmarks=BENCHMARKS) -> None:
    """`results.jsonl` and `metrics.json` of one model."""
    rows, measured = [], {}
    for number, benchmark in enumerate(benchmarks):
        world = people(benchmark, archetypes=archetypes, seed=number)
        own = [answered(row, model, seed=(number, place)) for place, row in enumerate(world)]
        rows += own
        measured[benchmark] = account(model, own, world)
    metrics = {
        "version": 1,
        "model": model.name,
        "mode": model.mode,
        "settings": {
            "model": model.name,
            "template": "reasoning",
            "endpoint": {"samples": 2 if model.mode == "generate" else 1},
        },
        "train": "invented/train.parquet (2,880 rows)",
        "benchmarks": measured,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder, rows)
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


def write_rows(folder, rows) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (folder / "results.jsonl").write_text("".join(lines), encoding="utf-8")


def read_rows(folder) -> list[dict]:
    text = (folder / "results.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def people(benchmark: str, *, archetypes: int, seed: int) -> list[dict]:
    """What was asked of whom, the true shares of the options, and what they answered."""
    rng = np.random.default_rng(seed)
    lean = {name: rng.normal(0, 1.5, 5) for name in (*COUNTRIES, *QUESTIONS)}
    tilt = {label: rng.normal(0, 0.7, 5) for labels in LABELS.values() for label in labels}
    rows = []
    for number in range(archetypes):
        country = COUNTRIES[number % len(COUNTRIES)]
        attributes = {name: labels[rng.integers(len(labels))] for name, labels in LABELS.items()}
        archetype = f"{benchmark} {number}: " + ", ".join([country, *attributes.values()])
        for question, options in QUESTIONS.items():
            logits = lean[question] + lean[country] + sum(tilt[a] for a in attributes.values())
            shares = softmax(logits[: len(options)])
            counts = rng.multinomial(20, shares)
            rows.append(
                {
                    "benchmark": benchmark,
                    "number": len(rows),
                    "question_id": question,
                    "country": country,
                    "archetype": archetype,
                    "attributes": {"Country": country, **attributes},
                    "options": list(options),
                    "answer": options[int(counts.argmax())],
                    "answer_counts": counts.tolist(),
                    "shares": shares,
                }
            )
    return rows


def answered(row: dict, model: Invented, *, seed) -> dict:
    """The row of results that the model leaves of what was asked."""
    rng = np.random.default_rng((*seed, len(model.name)))
    asked = {name: value for name, value in row.items() if name != "shares"}
    if rng.random() < model.failed:
        lost = {"predicted": None, "predictions": [], "probabilities": None, "completions": []}
        nothing = {"correct": 0.0, "correct_lenient": 0.0, "readable": 0.0, "truncated": 0.0}
        return asked | lost | nothing | {"failure": ("HTTP 500", "timeout")[rng.integers(2)]}
    noise = softmax(rng.normal(0, 1.5, len(row["options"])))
    shares = model.skill * row["shares"] + (1 - model.skill) * noise
    return asked | (scored if model.mode == "score" else generated)(row, shares, model, rng)


def scored(row, shares, model, rng) -> dict:
    predicted = row["options"][int(shares.argmax())]
    correct = float(predicted == row["answer"])
    return {
        "predicted": predicted,
        "correct": correct,
        "correct_lenient": correct,
        "probabilities": [round(float(share), 5) for share in shares],
        "logprobs": np.log(shares).round(5).tolist(),
        "readable": 1.0,
        "truncated": 0.0,
        "completions": [],
    }


def generated(row, shares, model, rng) -> dict:
    options = row["options"]
    drawn = [int(rng.choice(len(options), p=shares)) for _ in range(2)]
    read = [None if rng.random() < model.unreadable else options[index] for index in drawn]
    named = [option for option in read if option is not None]
    predicted = named[0] if named else None
    votes = np.array([named.count(option) for option in options], float)
    correct = float(np.mean([option == row["answer"] for option in read]))
    said = f"<reasoning>Somebody of {row['country']} asked about {row['question_id']}. {HOSTILE}"
    return {
        "predicted": predicted,
        "predictions": read,
        "correct": correct,
        "correct_lenient": correct,
        "probabilities": (votes / votes.sum()).tolist() if named else None,
        "readable": len(named) / 2,
        "truncated": float(rng.random() < 0.02),
        "completions": [
            f"{said}</reasoning>\n<answer>{option}</answer>" if option else f"{said} and never ends"
            for option in read
        ],
    }


def account(model: Invented, rows: list[dict], world: list[dict]) -> dict:
    """A benchmark's part of `metrics.json`, with intervals of plus or minus two standard errors."""
    correct = np.array([row["correct"] for row in rows])
    names = [row["archetype"] for row in rows]
    modes = country_majorities(rows)
    named = [modes[row["country"], row["question_id"]] for row in rows]
    majority = np.array(
        [row["answer"] == mode for row, mode in zip(rows, named, strict=True)], float
    )
    uniform = np.array([1 / len(row["options"]) for row in rows])
    extra = {
        "format": estimate([row["readable"] for row in rows]),
        "ordinal_agreement": estimate(0.5 + correct / 2),
        "calibration_error": {"value": 0.123, "low": None, "high": None},
        "wasserstein": estimate((1 - correct) / 4),
        "skill/country_majority": estimate(correct - majority),
    }
    return {
        "rows": len(rows),
        "archetypes": len(set(names)),
        "digest": f"digest of {rows[0]['benchmark']}, {len(rows)}",
        "entries": {
            model.name: {"metrics": {"accuracy": estimate(correct), **extra}, "notes": []},
            "baseline:uniform": {"metrics": {"accuracy": estimate(uniform)}, "notes": []},
            MAJORITY: {
                "metrics": {"accuracy": estimate(majority)},
                "notes": ["fitted on invented/train.parquet"],
            },
        },
        "differences": [
            {
                **{
                    "of": model.name,
                    "minus": "baseline:majority_country_question",
                    "metric": "accuracy",
                },
                **estimate(correct - majority),
                "p": p_value(correct - majority),
            }
        ],
        "failures": failures(rows),
        "notes": ["ceiling/share is left out: the examples have no respondents' answers"],
        "probes": probes() if model.probes and rows[0]["benchmark"] == "test" else None,
    }


def probes() -> dict:
    """Every kind of probe, with a curve over numbers and curves over names."""
    return {
        "permutation": [
            {**{"name": name, "metric": "accuracy", "observed": 0.61, "shuffled": 0.61 - gain},
             **{"value": gain, "low": gain - 0.02, "high": gain + 0.02, "p": p}}
            for name, gain, p in (("attributes", 0.034, 0.004), ("country", 0.12, 0.0001))
        ],
        "dropped": [
            {"attribute": name, "value": 0.01 * place - 0.01, "low": 0.01 * place - 0.03,
             "high": 0.01 * place + 0.01}
            for place, name in enumerate(("Country", *LABELS))
        ],
        "attribution": {"none": 0.41, "country": 0.55, "all": 0.61},
        "curves": [
            curve("missing", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9]),
            curve("noise", [0.0, 0.25, 0.5]),
            curve("order", ["as asked", "reversed", "shuffled"]),
            curve("template", ["reasoning", "answer", "a_template_of_a_rather_long_name"]),
        ],
        "about": "200 archetypes of test",
        "notes": ["the endpoint was not asked"],
        "rows": 384,
    }  # fmt: skip


def curve(name, places) -> dict:
    points = [
        {"x": x, "value": 0.61 - 0.03 * i, "low": 0.58 - 0.03 * i, "high": 0.64 - 0.03 * i,
         "agreement": None if i == 0 else 1 - 0.1 * i}
        for i, x in enumerate(places)
    ]  # fmt: skip
    return {"name": name, "points": points}


def write_workdir(folder: pathlib.Path, *, steps: int = 60) -> pathlib.Path:
    """A run's `metrics.jsonl` and its warm start's: a row a step, an evaluation every twenty."""
    for place, start in ((folder / "warm_start", 0.3), (folder, 0.5)):
        place.mkdir(parents=True, exist_ok=True)
        rows = []
        for step in range(steps + 1):
            if step % 20 == 0:
                accuracy = start + 0.2 * step / steps
                rows.append(
                    {"step": step, "eval/score/accuracy": accuracy,
                     "eval/score/accuracy/low": accuracy - 0.05,
                     "eval/score/accuracy/high": accuracy + 0.05, "eval/score/num_rows": 384.0}
                )  # fmt: skip
            if step:
                noise = np.sin(step) / 20
                rows.append({"step": step, "loss": 1 / step + noise, "reward": start + noise})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (place / "metrics.jsonl").write_text(text, encoding="utf-8")
    return folder


def estimate(values) -> dict:
    values = np.asarray(values, float)
    mean, error = values.mean(), values.std() / np.sqrt(len(values))
    return {"value": float(mean), "low": float(mean - 2 * error), "high": float(mean + 2 * error)}


def p_value(gaps) -> float:
    """Of no difference, by the normal approximation."""
    error = gaps.std() / np.sqrt(len(gaps))
    return math.erfc(abs(gaps.mean()) / error / math.sqrt(2)) if error else 1.0


def country_majorities(rows) -> dict:
    """The most frequent answer of each country to each question, among the rows themselves."""
    counts = {}
    for row in rows:
        counts.setdefault((row["country"], row["question_id"]), Counter())[row["answer"]] += 1
    return {cell: found.most_common(1)[0][0] for cell, found in counts.items()}


def failures(rows) -> dict:
    kinds = [row["failure"] for row in rows if "failure" in row]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def softmax(logits) -> np.ndarray:
    powers = np.exp(logits - np.max(logits))
    return powers / powers.sum()
