"""Codebooks: a survey's variables, codes and labels; that of World Values Survey wave 7.

A codebook is a JSON file; `wave7.json` beside this module is one and shows the form:

    {"name": ..., "respondent": VARIABLE,
     "wave": VARIABLE or "", "date": VARIABLE or "", "weight": VARIABLE or "",
     "missing": {"no answer": [-2], ...},
     "attributes": [{"name": "Gender", "variable": VARIABLE, "labels": {"1": "Male", ...}}, ...],
     "scales": {"agreement": {"options": {"1": "Agree", ...}, "recode": {"1": ..., ...}}, ...},
     "questions": [{"id": ..., "section": ..., "text": ..., "scale": "agreement"}, ...]}

An attribute may be `"binned"` (its codes are the lower ends of intervals, as ages are) and
`"required"` (who did not answer it belongs to no archetype). A scale's `"recode"` maps codes to
fewer options; a question may hold `"options"` and `"recode"` itself, codes of its own that are no
answer to it in `"missing"`, and in `"variable"` its column where that is not its id. Dates are
numbers YYYY, YYYYMM or YYYYMMDD. An attribute of a corpus that the survey has no variable for is
left out. Codes of wave 7 are those of the WVS-7 codebook, country names the United Nations' (M49),
as in the released corpus, and the questions' wording is ours. Only this module and that file spell
the survey's variables.
"""

import dataclasses
import difflib
import functools
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

WAVE7_FILE = pathlib.Path(__file__).with_name("wave7.json")
NOT_ANSWERED = "Not Answered"
# In the order of the released columns.
ATTRIBUTE_NAMES = (
    "Country",
    "Gender",
    "Marital Status",
    "Has Children",
    "Education Level",
    "Occupation",
    "Work Nature",
    "Religion",
    "Life Stage",
    "Income Bracket",
    "Common Language",
)
RELEASED_QUESTIONS = (
    *("Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q27", "Q29"),
    *("Q36", "Q46", "Q49", "Q50", "Q60", "Q69", "Q112", "Q131"),
)
NOT_ASKED_IN = {"Egypt": ("Q36", "Q69")}  # by country, the released questions left out there
# Codes that occur in the released corpus, of the attributes that have many more.
RELEASED_CODES = {
    "Country": (840, 356, 818, 392, 124, 276, 76, 826, 156, 643),
    "Religion": (
        *(10000000, 10100000, 20000000, 20206022, 20213020, 20302000, 20700000, 21400000),
        *(21621100, 30000000, 30100000, 30106000, 40000000, 50000000, 60000000, 70000000),
        *(80000000, 80213121, 90000000, 90400000, 90500000, 100000000, 100000020, 100000040),
    ),
    "Common Language": (
        *(170, 490, 790, 860, 1240, 1400, 1530, 1740, 2020, 2870, 2940, 3520, 3530, 3540, 3630),
        *(4220, 4470, 9000, 9060),
    ),
}


@dataclasses.dataclass(frozen=True)
class Attribute:
    """A demographic variable: `labels` by code, or by the lower end of an interval if `binned`."""

    name: str
    variable: str
    labels: tuple[tuple[int, str], ...]
    binned: bool = False
    required: bool = False

    @property
    def values(self) -> tuple[str, ...]:
        """Labels in codebook order."""
        return tuple(label for _, label in self.labels)


@dataclasses.dataclass(frozen=True)
class Question:
    """A question; `codes` gives each option's raw codes, more than one where it is recoded.

    `missing` are codes that are no answer to this question alone.
    """

    id: str
    section: str
    text: str
    options: tuple[str, ...]
    codes: tuple[tuple[int, ...], ...]
    missing: tuple[int, ...] = ()
    column: str = ""

    @property
    def variable(self) -> str:
        """The survey's name for it: its column, or its id."""
        return self.column or self.id

    @property
    def raw_codes(self) -> tuple[int, ...]:
        """All valid codes, ascending."""
        return tuple(sorted(code for codes in self.codes for code in codes))


@dataclasses.dataclass(frozen=True)
class Codebook:
    """A survey's variables; the attributes are some of the corpus's, the country among them."""

    name: str
    respondent: str
    wave: str
    weight: str
    missing: tuple[tuple[str, tuple[int, ...]], ...]
    attributes: tuple[Attribute, ...]
    questions: tuple[Question, ...]
    date: str = ""

    @property
    def missing_codes(self) -> dict[int, str]:
        """The kind of every code that stands for no answer."""
        return {code: kind for kind, codes in self.missing for code in codes}

    @property
    def country(self) -> Attribute:
        """The attribute that names countries."""
        return self.attributes[self.country_column]

    @property
    def country_column(self) -> int:
        """The country's place among the attributes."""
        return [attribute.name for attribute in self.attributes].index(ATTRIBUTE_NAMES[0])

    def chosen(self, ids: Iterable[str]) -> tuple[Question, ...]:
        """The questions with these ids in codebook order; ValueError for one that is unknown."""
        ids = tuple(ids)
        check_names(
            f"{self.name} has no question", ids, [question.id for question in self.questions]
        )
        return tuple(question for question in self.questions if question.id in ids)


@functools.cache
def wave7() -> Codebook:
    """The codebook of World Values Survey wave 7."""
    return read_codebook(WAVE7_FILE)


def read_codebook(path: pathlib.Path) -> Codebook:
    """Reads a codebook file; ValueError naming the file, the entry and the field that is wrong."""
    if not path.is_file():
        raise FileNotFoundError(f"no codebook at {path}")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path} holds a {type(fields).__name__}; a codebook is a JSON object")
    scales = fields.get("scales", {})
    codebook = Codebook(
        name=_field(fields, "name", str, path),
        respondent=_field(fields, "respondent", str, path),
        wave=fields.get("wave", ""),
        weight=fields.get("weight", ""),
        missing=tuple((k, tuple(v)) for k, v in _field(fields, "missing", dict, path).items()),
        attributes=tuple(
            _attribute(entry, f"{path} attribute {number}")
            for number, entry in enumerate(_field(fields, "attributes", list, path))
        ),
        questions=tuple(
            _question(entry, scales, f"{path} question {number}")
            for number, entry in enumerate(_field(fields, "questions", list, path))
        ),
        date=fields.get("date", ""),
    )
    _check(codebook, path)
    return codebook


def nearest_names(name: str, known: Iterable[str]) -> str:
    """Ends an error message: the known names most like `name`, or all where none is."""
    known = sorted(set(known))
    lower = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.4)
    close += [key for key in lower if name.lower() in key and key not in close]
    names = ", ".join(repr(lower[key]) for key in close) or ", ".join(map(repr, known))
    return f"nearest: {names}" if close else f"known: {names}"


def check_names(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raises ValueError for the first of `names` that is not known, with the nearest that are."""
    known = set(known)
    for name in names:
        if name not in known:
            raise ValueError(f"{kind} {name!r}; {nearest_names(name, known)}")


def _attribute(entry: Mapping[str, Any], where: str) -> Attribute:
    name = _field(entry, "name", str, where)
    return Attribute(
        name=name,
        variable=_field(entry, "variable", str, f"{where} ({name})"),
        labels=_labels(entry, "labels", f"{where} ({name})"),
        binned=bool(entry.get("binned", False)),
        required=bool(entry.get("required", False)),
    )


def _question(entry: Mapping[str, Any], scales: Mapping[str, Any], where: str) -> Question:
    name = _field(entry, "id", str, where)
    where = f"{where} ({name})"
    scale = entry if "options" in entry else _scale(entry, scales, where)
    labels = _labels(scale, "options", where)
    recode = dict(_labels(scale, "recode", where)) if "recode" in scale else dict(labels)
    unknown = set(recode) ^ {code for code, _ in labels}
    if unknown:
        raise ValueError(f"{where}: recode and options differ in the codes {sorted(unknown)}")
    options = tuple(dict.fromkeys(recode.values()))
    if len(options) < 2:
        raise ValueError(f"{where}: a question needs two or more options; found {list(options)}")
    if any(", " in option for option in options):
        raise ValueError(f"{where}: an option holds ', ', which separates options; rephrase it")
    missing = tuple(entry.get("missing", ()))
    if set(missing) & set(recode):
        raise ValueError(f"{where}: missing holds the code of an option; remove one of the two")
    return Question(
        id=name,
        section=_field(entry, "section", str, where),
        text=_field(entry, "text", str, where),
        options=options,
        codes=tuple(tuple(c for c, label in recode.items() if label == o) for o in options),
        missing=missing,
        column=entry.get("variable", ""),
    )


def _scale(entry: Mapping[str, Any], scales: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    name = _field(entry, "scale", str, where)
    check_names(f"{where}: no scale is called", [name], scales)
    return scales[name]


def _field(entry: Mapping[str, Any], name: str, kind: type, where: object) -> Any:
    if not isinstance(entry.get(name), kind) or not entry[name]:
        raise ValueError(
            f"{where}: {name} is {entry.get(name)!r}; it must be a filled {kind.__name__}"
        )
    return entry[name]


def _labels(entry: Mapping[str, Any], name: str, where: str) -> tuple[tuple[int, str], ...]:
    labels = _field(entry, name, dict, where)
    try:
        pairs = tuple((int(code), str(label)) for code, label in labels.items())
    except ValueError as error:
        raise ValueError(f"{where}: {name} has a code that is no integer ({error})") from error
    if any(code < 0 for code, _ in pairs):
        raise ValueError(f"{where}: {name} has a negative code; those belong under 'missing'")
    return pairs


def _check(codebook: Codebook, path: pathlib.Path) -> None:
    names = [attribute.name for attribute in codebook.attributes]
    check_names(f"{path}: a corpus has no attribute", names, ATTRIBUTE_NAMES)
    if ATTRIBUTE_NAMES[0] not in names:
        raise ValueError(f"{path}: the attribute {ATTRIBUTE_NAMES[0]!r} is missing")
    for kind, values in (("attribute", names), ("question", [q.id for q in codebook.questions])):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"{path}: the {kind} {twice[0]!r} occurs more than once")


def _released(attribute: Attribute) -> Attribute:
    """The attribute with the labels of the released corpus alone, in the order of their codes."""
    labels = dict(attribute.labels)
    codes = RELEASED_CODES.get(attribute.name, labels)
    return dataclasses.replace(attribute, labels=tuple((code, labels[code]) for code in codes))


# What the released corpus holds of wave 7.
ATTRIBUTES = tuple(_released(attribute) for attribute in wave7().attributes)
QUESTIONS = wave7().chosen(RELEASED_QUESTIONS)
(
    COUNTRY,
    GENDER,
    MARITAL_STATUS,
    HAS_CHILDREN,
    EDUCATION_LEVEL,
    OCCUPATION,
    WORK_NATURE,
    RELIGION,
    LIFE_STAGE,
    INCOME_BRACKET,
    COMMON_LANGUAGE,
) = ATTRIBUTES
