"""What a survey's file holds: a codebook file in, its variables, codes and labels out.

A codebook is a JSON file; that of wave 7 lies beside this module and shows the form:

    {"name": ..., "respondent": VARIABLE, "wave": VARIABLE or "", "weight": VARIABLE or "",
     "missing": {"no answer": [-2], ...},
     "attributes": [{"name": "Gender", "variable": VARIABLE, "labels": {"1": "Male", ...}}, ...],
     "questions": [{"id": VARIABLE, "section": ..., "text": ..., "options": {"1": ..., ...}}, ...]}

An attribute may be `"binned"` (its codes are the lower ends of intervals, as ages are) and
`"required"` (who did not answer it belongs to no archetype). A question's `"recode"` maps codes to
fewer options. An attribute of a corpus that the survey has no variable for is left out.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES, nearest_names

WAVE7_FILE = pathlib.Path(__file__).with_name("wave7.json")


@dataclasses.dataclass(frozen=True)
class AttributeVariable:
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
class QuestionVariable:
    """A question; `codes` gives each option's raw codes, more than one where it is recoded."""

    id: str
    section: str
    text: str
    options: tuple[str, ...]
    codes: tuple[tuple[int, ...], ...]

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
    attributes: tuple[AttributeVariable, ...]
    questions: tuple[QuestionVariable, ...]

    @property
    def missing_codes(self) -> dict[int, str]:
        """The kind of every code that stands for no answer."""
        return {code: kind for kind, codes in self.missing for code in codes}

    @property
    def country(self) -> AttributeVariable:
        """The attribute that names countries."""
        return next(a for a in self.attributes if a.name == ATTRIBUTE_NAMES[0])

    def chosen(self, ids: tuple[str, ...]) -> tuple[QuestionVariable, ...]:
        """The questions with these ids in codebook order; ValueError for one that is unknown."""
        known = {question.id for question in self.questions}
        for name in ids:
            if name not in known:
                raise ValueError(
                    f"{self.name} has no question {name!r}; {nearest_names(name, known)}"
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
            _question(entry, f"{path} question {number}")
            for number, entry in enumerate(_field(fields, "questions", list, path))
        ),
    )
    _check(codebook, path)
    return codebook


def _attribute(entry: Mapping[str, Any], where: str) -> AttributeVariable:
    name = _field(entry, "name", str, where)
    return AttributeVariable(
        name=name,
        variable=_field(entry, "variable", str, f"{where} ({name})"),
        labels=_labels(entry, "labels", f"{where} ({name})"),
        binned=bool(entry.get("binned", False)),
        required=bool(entry.get("required", False)),
    )


def _question(entry: Mapping[str, Any], where: str) -> QuestionVariable:
    name = _field(entry, "id", str, where)
    where = f"{where} ({name})"
    labels = _labels(entry, "options", where)
    recode = dict(_labels(entry, "recode", where)) if "recode" in entry else dict(labels)
    unknown = set(recode) ^ {code for code, _ in labels}
    if unknown:
        raise ValueError(f"{where}: recode and options differ in the codes {sorted(unknown)}")
    options = tuple(dict.fromkeys(recode.values()))
    if len(options) < 2:
        raise ValueError(f"{where}: a question needs two or more options; found {list(options)}")
    if any(", " in option for option in options):
        raise ValueError(f"{where}: an option holds ', ', which separates options; rephrase it")
    return QuestionVariable(
        id=name,
        section=_field(entry, "section", str, where),
        text=_field(entry, "text", str, where),
        options=options,
        codes=tuple(tuple(c for c, label in recode.items() if label == o) for o in options),
    )


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
    for name in names:
        if name not in ATTRIBUTE_NAMES:
            nearest = nearest_names(name, ATTRIBUTE_NAMES)
            raise ValueError(f"{path}: a corpus has no attribute {name!r}; {nearest}")
    if ATTRIBUTE_NAMES[0] not in names:
        raise ValueError(f"{path}: the attribute {ATTRIBUTE_NAMES[0]!r} is missing")
    for kind, values in (("attribute", names), ("question", [q.id for q in codebook.questions])):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"{path}: the {kind} {twice[0]!r} occurs more than once")
