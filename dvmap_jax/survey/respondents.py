"""Respondents: a survey file and its codebook in, one row of codes a respondent out."""

import dataclasses
import pathlib
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from jaxtyping import Float, Int

from dvmap_jax.survey.codebook import Attribute, Codebook, Question, check_names
from dvmap_jax.survey.survey_file import read_blocks

BLANK = -99  # an empty cell; no survey code
SHOWN = 8  # unknown codes an error lists
NO_LABEL = -1  # an attribute's label index where there is no label
DATE = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")


@dataclasses.dataclass(frozen=True)
class ReadConfig:
    """Which respondents are read, and how.

    `countries` and `waves` keep only theirs, all where empty; `as_of` (YYYY, YYYY-MM or
    YYYY-MM-DD) those interviewed by then. Codes the codebook does not know are an error, or, with
    `unknown="missing"`, no answer. `weighted` reads the survey weights, which else are 1.
    """

    countries: tuple[str, ...] = ()
    waves: tuple[int, ...] = ()
    as_of: str = ""
    unknown: str = "error"
    weighted: bool = False

    def __post_init__(self):
        if self.as_of and not DATE.fullmatch(self.as_of):
            raise ValueError(f"as_of is {self.as_of!r}; give YYYY, YYYY-MM or YYYY-MM-DD")

    @property
    def said(self) -> str:
        """The choice in words, for an error that it leaves nothing."""
        by_then = f", interviewed by {self.as_of}" if self.as_of else ""
        return (
            f"countries {list(self.countries) or 'all'}, waves {list(self.waves) or 'all'}{by_then}"
        )


@dataclasses.dataclass(frozen=True)
class Respondents:
    """Everybody who was read, and what they said.

    `attributes` are indices into the labels of the codebook's attributes, -1 where there is no
    answer. `answers` are raw codes by question, negative where there is none, so that kinds of
    missing answers stay apart. `waves` is 0 and `weights` 1 where the survey has none, and `ids`
    is empty where it does not name respondents.
    """

    codebook: Codebook
    questions: tuple[Question, ...]
    attributes: Int[np.ndarray, "R A"]
    answers: dict[str, Int[np.ndarray, " R"]]
    weights: Float[np.ndarray, " R"]
    waves: Int[np.ndarray, " R"]
    ids: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, object))

    def __len__(self) -> int:
        return len(self.attributes)


def read_respondents(
    path: pathlib.Path,
    codebook: Codebook,
    *,
    questions: Sequence[Question],
    config: ReadConfig = ReadConfig(),
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> Respondents:
    """Reads the needed columns of a `.csv`, `.csv.gz` or `.zip` file, in their order in the file.

    `progress` is told bytes read and the file's size. Raises FileNotFoundError, and ValueError
    naming the file and the line, column or code that is wrong, or the choice that leaves nothing.
    Warns where the file does not name its respondents, so that none can be found to occur twice.
    """
    wanted = _Wanted(path, codebook, tuple(questions), config)
    columns = {"columns": wanted.columns, "optional": wanted.optional}
    parts = [_Part(wanted, block) for block in read_blocks(path, **columns, progress=progress)]
    if not parts:
        raise ValueError(f"{path} has a first line and no respondent below it")
    if config.unknown == "error":
        _refuse_unknown(path, parts)
    if not any(part.kept.any() for part in parts):
        raise ValueError(f"{path} has no respondent left: {config.said}")
    respondents = _joined(codebook, tuple(questions), parts)
    refuse_twice([(path, respondents)])
    if not len(respondents.ids):
        said = f"{path} has no column {codebook.respondent}; repeated respondents go unseen"
        warnings.warn(said, stacklevel=2)
    return respondents


def refuse_twice(files: Sequence[tuple[pathlib.Path, Respondents]]) -> None:
    """Raises ValueError where a respondent occurs twice in a wave, naming the files."""
    named = [(path, people) for path, people in files if len(people.ids)]
    if not named:
        return
    frame = pd.DataFrame(
        {
            "wave": np.concatenate([people.waves for _, people in named]),
            "id": np.concatenate([people.ids for _, people in named]),
            "file": np.repeat(range(len(named)), [len(people) for _, people in named]),
        }
    )
    twice = frame.duplicated(["wave", "id"])
    if twice.any():
        wave, one, _ = frame[twice].iloc[0]
        where = frame[(frame["wave"] == wave) & (frame["id"] == one)]["file"].unique()
        raise ValueError(
            f"{' and '.join(str(named[place][0]) for place in where)}: "
            f"{named[0][1].codebook.respondent} {one!r} occurs more than once "
            f"({int(twice.sum())} such rows); a wave must hold each respondent once"
        )


class _Wanted:
    """The columns of a file that are needed, and which rows."""

    def __init__(self, path, codebook, questions, config):
        known = {label: code for code, label in codebook.country.labels}
        check_names("no country is called", config.countries, known)
        for chosen, variable, flag in (
            (config.waves, codebook.wave, "waves"),
            (config.as_of, codebook.date, "as_of"),
            (config.weighted, codebook.weight, "weighted"),
        ):
            if chosen and not variable:
                raise ValueError(f"the codebook {codebook.name!r} names no variable for {flag}")
        self.codebook, self.questions, self.path = codebook, questions, path
        self.config = config
        self.countries = [known[name] for name in config.countries]
        named = {codebook.wave: config.waves, codebook.date: config.as_of}
        named |= {codebook.weight: config.weighted, codebook.respondent: False}
        variables = [a.variable for a in codebook.attributes] + [q.variable for q in questions]
        needed = [*(name for name, used in named.items() if used), *variables]
        self.columns = tuple(dict.fromkeys(needed))
        spare = [codebook.wave, codebook.respondent]
        self.optional = [name for name in spare if name and name not in self.columns]


class _Part:
    """A block of rows as codes, with the codes that no codebook entry knows."""

    def __init__(self, wanted: _Wanted, batch: pa.RecordBatch):
        codebook, config, self.unknown = wanted.codebook, wanted.config, {}
        present = batch.schema.names
        columns = {
            name: _codes(batch.column(name), f"{wanted.path}: column {name}")
            for name in present
            if name not in (codebook.respondent, codebook.weight)
        }
        missing = set(codebook.missing_codes) | {BLANK}
        self.ids = np.zeros(batch.num_rows, object)
        self.named = codebook.respondent in present
        if self.named:
            self.ids = np.asarray(batch.column(codebook.respondent).cast(pa.string()))
        self.waves = np.maximum(columns.get(codebook.wave, np.zeros(batch.num_rows, int)), 0)
        self.weights = np.ones(batch.num_rows)
        if config.weighted:
            self.weights = _numbers(batch.column(codebook.weight), wanted.path, codebook.weight)
        self.kept = np.ones(batch.num_rows, bool)
        if wanted.countries:
            self.kept &= np.isin(columns[codebook.country.variable], wanted.countries)
        if config.waves:
            self.kept &= np.isin(self.waves, config.waves)
        if config.as_of:
            self.kept &= _by_then(columns[codebook.date], config.as_of)
        labelled = [self._label(a, columns[a.variable], missing) for a in codebook.attributes]
        self.attributes = np.stack(labelled, axis=1).astype(np.int16)
        self.answers = {
            question.id: self._answers(question, columns[question.variable], missing)
            for question in wanted.questions
        }

    def _label(self, attribute: Attribute, codes, missing):
        """The label's index for each code, the first of equal labels.

        Where the attribute is binned, the lower end of the interval decides.
        """
        same = np.array([attribute.values.index(label) for label in attribute.values])
        ends = np.array([code for code, _ in attribute.labels])
        order = np.argsort(ends)
        place = np.searchsorted(ends[order], codes, side="right") - 1
        found = np.where(place >= 0, order[np.maximum(place, 0)], NO_LABEL)
        if attribute.binned:
            return np.where((codes < 0) | (place < 0), NO_LABEL, same[found])
        exact = (place >= 0) & (ends[found] == codes)
        self._note(attribute.variable, codes, exact, missing)
        return np.where(exact, same[found], NO_LABEL)

    def _answers(self, question: Question, codes, missing):
        known = np.isin(codes, question.raw_codes)
        missing = missing | set(question.missing)
        self._note(question.variable, codes, known, missing)
        return np.where(known | np.isin(codes, list(missing)), codes, BLANK).astype(np.int16)

    def _note(self, name, codes, known, missing):
        strange = codes[~known & self.kept]
        strange = strange[~np.isin(strange, list(missing))]
        if strange.size:
            self.unknown[name] = Counter(strange.tolist())


def _joined(codebook, questions, parts: list[_Part]) -> Respondents:
    def column(take):
        return np.concatenate([take(part)[part.kept] for part in parts])

    return Respondents(
        codebook=codebook,
        questions=questions,
        attributes=column(lambda part: part.attributes),
        answers={q.id: column(lambda part, q=q: part.answers[q.id]) for q in questions},
        weights=column(lambda part: part.weights),
        waves=column(lambda part: part.waves),
        ids=column(lambda part: part.ids) if parts[0].named else np.zeros(0, object),
    )


def _refuse_unknown(path: pathlib.Path, parts: list[_Part]) -> None:
    found: dict[str, Counter] = {}
    for part in parts:
        for name, counts in part.unknown.items():
            found.setdefault(name, Counter()).update(counts)
    if not found:
        return
    listed = [
        f"{name} {code} ({count} times)"
        for name, counts in found.items()
        for code, count in sorted(counts.items())
    ]
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    raise ValueError(
        f"{path} has codes that the codebook does not know: {', '.join(listed[:SHOWN])}{more}; "
        "add them to the codebook, or take them as no answer with --unknown=missing"
    )


def _by_then(dates: Int[np.ndarray, " R"], as_of: str) -> np.ndarray:
    """Which dates, numbers YYYY, YYYYMM or YYYYMMDD, are not after the day, month or year."""
    limit = as_of.replace("-", "")
    known, places = np.unique(dates, return_inverse=True)
    texts = [str(date) for date in known.tolist()]
    # The coarser of the two decides: 2019 is by 2019-06, as far as anybody can say.
    early = [
        date > 0 and text[: len(limit)] <= limit[: len(text)]
        for date, text in zip(known, texts, strict=True)
    ]
    return np.array(early)[places]


def _codes(column: pa.Array, where: str) -> Int[np.ndarray, " R"]:
    """Integers of a column of texts; each different text is read once."""
    encoded = column.dictionary_encode() if pa.types.is_string(column.type) else column
    texts = encoded.dictionary.to_pylist()
    values = np.array([_integer(text, where) for text in texts] + [BLANK], np.int64)
    return values[np.asarray(encoded.indices.fill_null(len(texts)))]


def _integer(text: str, where: str) -> int:
    if not text.strip():
        return BLANK
    try:
        value = float(text)
        if value.is_integer():
            return int(value)
    except ValueError:
        pass
    raise ValueError(f"{where} holds {text!r}, which is no code; codes are whole numbers")


def _numbers(column: pa.Array, path: pathlib.Path, name: str) -> Float[np.ndarray, " R"]:
    texts = pa.compute.replace_substring(column.cast(pa.string()), ",", ".")
    try:
        numbers = np.asarray(texts.cast(pa.float64()))
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path}: column {name} holds a weight that is no number: {error}"
        ) from error
    if not (numbers >= 0).all():
        raise ValueError(f"{path}: column {name} holds a weight that is negative or absent")
    return numbers
