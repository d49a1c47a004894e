"""The audit of a corpus: how much consensus its labels hold, and what each rule keeps."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int

from dvmap_jax.survey.agreement import (
    group_counts,
    left_out_hits,
    ratio_of_sums,
    twin_agreements,
)
from dvmap_jax.survey.archetypes import (
    ABSENT,
    Archetypes,
    Cells,
    RuleConfig,
    cells_of,
    kept_cells,
)
from dvmap_jax.survey.codebook import NOT_ANSWERED, Question
from dvmap_jax.survey.respondents import BLANK, Respondents

SIZES = (("1", 1, 1), ("2", 2, 2), ("3-4", 3, 4), ("5-9", 5, 9), ("10+", 10, None))
ENTROPY_STEPS = 10
PLANTED_NOISE = 0.05  # a cell of an invented survey is planted consensus up to this much dissent

Planted = Callable[[list[list[str]]], Mapping[str, np.ndarray]]


def audit_corpus(
    respondents: Respondents,
    archetypes: Archetypes,
    rule: RuleConfig,
    *,
    planted: Planted | None = None,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> dict:
    """What `audit.json` says of the archetypes' answers, whichever rule builds the corpus.

    `planted` gives, for rows of attribute labels, the true shares of the options by question,
    which only an invented survey has.
    """
    audit = _Audit(respondents, archetypes, rule, planted)
    for number, question in enumerate(respondents.questions):
        audit.add(question)
        progress(number + 1, len(respondents.questions))
    return audit.result()


class _Audit:
    """Sums over questions, most of them one number an archetype."""

    def __init__(self, respondents, archetypes, rule, planted):
        self.respondents, self.archetypes = respondents, archetypes
        plain = dataclasses.replace(rule, weighted=False)
        self.released = dataclasses.replace(plain, rule="released")
        self.consensus = dataclasses.replace(plain, rule="consensus")
        codebook, labels = respondents.codebook, archetypes.attributes
        self.country = labels[:, codebook.country_column] + 1
        self.names = (NOT_ANSWERED, *codebook.country.values)
        self.people = np.bincount(archetypes.members[archetypes.members >= 0])
        self.groups = {
            attribute.name: _groups(self.country, labels[:, place])
            for place, attribute in enumerate(codebook.attributes)
            if place != codebook.country_column and (labels[:, place] >= 0).any()
        }
        zeros = lambda: np.zeros(len(archetypes))  # noqa: E731
        self.responses, self.by_country, self.by_archetype = zeros(), zeros(), zeros()
        self.by_attribute = {name: zeros() for name in self.groups}
        self.shared, self.twins, self.twin_mode, self.twin_country = (zeros() for _ in range(4))
        self.support, self.entropy = Counter(), np.zeros(ENTROPY_STEPS + 1, int)
        self.missing, self.table, self.rules = {}, {}, Counter()
        self.planted = planted and planted(_label_rows(respondents, archetypes))
        self.recovery = Counter()

    def add(self, question: Question) -> None:
        """Counts a question in."""
        cells = cells_of(self.respondents, self.archetypes, question, config=self.consensus)
        modes = cells_of(self.respondents, self.archetypes, question, config=self.released)
        self._count_missing(question)
        self._count_cells(cells)
        self._predict(cells)
        self._compare_rules(cells, modes)
        if self.planted and question.id in self.planted:
            self._count_planted(cells, self.planted[question.id])

    def result(self) -> dict:
        """All of it, with shares and intervals in place of sums."""
        sizes = Counter(_size_names(self.people).tolist())
        gains = {"all together": self.by_archetype, **self.by_attribute}
        return {
            "respondents": {
                "read": len(self.respondents),
                "without": self.archetypes.num_dropped,
                "missing_answers": self.missing,
            },
            "archetypes": {
                "number": len(self.archetypes),
                "by_respondents": {name: sizes.get(name, 0) for name, *_ in SIZES},
                "singleton_share": round(float((self.people == 1).mean()), 6),
            },
            "cells": {
                "by_support": {name: self.support.get(name, 0) for name, *_ in SIZES},
                "entropy_of_two_or_more": self._entropy_bins(),
            },
            "consensus": self.table,
            "twins": self._twins(),
            "attributes": {
                "country_alone": ratio_of_sums(self.by_country, self.responses),
                "added": {
                    name: ratio_of_sums(hits - self.by_country, self.responses)
                    for name, hits in gains.items()
                },
            },
            "rules": self._rules(),
        } | ({"planted": self._recovery()} if self.planted else {})

    def _count_missing(self, question: Question) -> None:
        kinds = {BLANK: "blank or unknown", **self.respondents.codebook.missing_codes}
        kinds |= dict.fromkeys(question.missing, "not on the scale")
        codes = self.respondents.answers[question.id]
        values, counts = np.unique(codes[~np.isin(codes, question.raw_codes)], return_counts=True)
        found = Counter()
        for code, count in zip(values.tolist(), counts.tolist(), strict=True):
            found[kinds[code]] += count
        self.missing[question.id] = dict(sorted(found.items()))

    def _count_cells(self, cells: Cells) -> None:
        answered = cells.support > 0
        self.support.update(_size_names(cells.support[answered]).tolist())
        several = cells.support > 1
        steps = np.ceil(cells.entropy[several].round(9) * ENTROPY_STEPS).astype(int)
        self.entropy += np.bincount(steps, minlength=ENTROPY_STEPS + 1)
        places = self.country[several]
        number = np.bincount(places, minlength=len(self.names))
        shares = np.bincount(places, cells.share[several], minlength=len(self.names))
        self.table[cells.question.id] = {
            self.names[place]: {
                "cells": int(number[place]),
                "consensus_share": round(float(shares[place] / number[place]), 6),
            }
            for place in np.flatnonzero(number)
        }

    def _predict(self, cells: Cells) -> None:
        """Hits of predictions from the others of one's country, and of narrower groups of it."""
        counts, width = cells.counts, len(self.names)
        in_country = left_out_hits(group_counts(counts, self.country, width))[self.country]
        self.responses += cells.support
        country = (counts * in_country).sum(axis=1)
        self.by_country += country
        for name, (groups, number) in self.groups.items():
            summed = group_counts(counts, groups, number)
            hits = left_out_hits(summed)[groups]
            alone = (summed.sum(axis=1) <= 1)[groups]
            self.by_attribute[name] += np.where(alone, country, (counts * hits).sum(axis=1))
        several = np.flatnonzero(cells.support > 1)
        own = country.copy()
        own[several] = (counts[several] * left_out_hits(counts[several])).sum(axis=1)
        self.by_archetype += own
        self.shared[several] += cells.support[several]
        self.twins[several] += twin_agreements(counts[several])
        self.twin_mode[several] += own[several]
        self.twin_country[several] += country[several]

    def _compare_rules(self, cells: Cells, modes: Cells) -> None:
        answered = cells.answer != ABSENT
        kept = kept_cells(cells, self.consensus)
        few = cells.support < self.consensus.min_support
        self.rules["released"] += int(answered.sum())
        self.rules["consensus"] += int(kept.sum())
        self.rules["too_little_support"] += int((answered & few).sum())
        self.rules["too_much_entropy"] += int((answered & ~few & ~kept).sum())
        self.rules["nobody_answered"] += int((~answered).sum())
        self.rules["other_answer"] += int((kept & (cells.answer != modes.answer)).sum())
        self.rules["other_answer_of_all"] += int((answered & (cells.answer != modes.answer)).sum())

    def _count_planted(self, cells: Cells, shares: Float[np.ndarray, "G K"]) -> None:
        enough = cells.support >= self.consensus.min_support
        planted = enough & (shares.max(axis=1) >= 1 - PLANTED_NOISE)
        found = kept_cells(cells, self.consensus) & (cells.answer == shares.argmax(axis=1))
        self.recovery["cells"] += int(planted.sum())
        self.recovery["recovered"] += int((planted & found).sum())

    def _entropy_bins(self) -> dict[str, int]:
        names = ["0"] + [
            f"{step / ENTROPY_STEPS:.1f} to {(step + 1) / ENTROPY_STEPS:.1f}"
            for step in range(ENTROPY_STEPS)
        ]
        return dict(zip(names, self.entropy.tolist(), strict=True))

    def _twins(self) -> list[dict]:
        names = _size_names(self.people)
        rows = []
        for name in ["all", *(name for name, low, _ in SIZES if low > 1)]:
            chosen = self.people > 1 if name == "all" else names == name
            responses = self.shared[chosen]
            rows.append(
                {"archetype_size": name, "responses": int(responses.sum())}
                | {
                    key: ratio_of_sums(hits[chosen], responses)
                    for key, hits in (
                        ("twin_agreement", self.twins),
                        ("others_mode", self.twin_mode),
                        ("country_mode", self.twin_country),
                    )
                }
            )
        return rows

    def _rules(self) -> dict:
        kept = {
            "min_support": self.consensus.min_support,
            "max_entropy": self.consensus.max_entropy,
        }
        share = self.rules["consensus"] / max(self.rules["released"], 1)
        return kept | dict(self.rules) | {"consensus_of_released": round(share, 6)}

    def _recovery(self) -> dict:
        """How many of the cells with enough support whose planted shares agree were kept right."""
        share = self.recovery["recovered"] / max(self.recovery["cells"], 1)
        said = {"noise": PLANTED_NOISE, "min_support": self.consensus.min_support}
        return said | dict(self.recovery) | {"recovered_share": round(share, 6)}


def _groups(
    country: Int[np.ndarray, " G"], labels: Int[np.ndarray, " G"]
) -> tuple[Int[np.ndarray, " G"], int]:
    """The group of each archetype by country and label, and how many groups there are."""
    keys = country.astype(np.int64) * (int(labels.max()) + 2) + labels + 1
    found, groups = np.unique(keys, return_inverse=True)
    return groups, len(found)


def _size_names(sizes: Int[np.ndarray, " N"]) -> np.ndarray:
    """The class of each size, by `SIZES`."""
    lows = np.array([low for _, low, _ in SIZES])
    return np.array([name for name, *_ in SIZES])[np.searchsorted(lows, sizes, side="right") - 1]


def _label_rows(respondents: Respondents, archetypes: Archetypes) -> list[list[str]]:
    columns = [
        np.array([*attribute.values, NOT_ANSWERED], dtype=object)[archetypes.attributes[:, place]]
        for place, attribute in enumerate(respondents.codebook.attributes)
    ]
    return np.stack(columns, axis=1).tolist()
