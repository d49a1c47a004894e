"""`metrics.json`, all that was measured of one model: a mapping in, a checked file out, and back.

What the file must hold is said once, in `metrics.schema.json` beside this module, which readers in
other languages can use; here it is read by the few rules of JSON Schema that it needs.
"""

import functools
import json
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dvmap_jax.files import write_text

FILE = "metrics.json"
VERSION = 1
SCHEMA_FILE = pathlib.Path(__file__).with_name("metrics.schema.json")

KINDS = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "null": (type(None),),
}


def write_metrics_file(path: pathlib.Path, metrics: Mapping[str, Any]) -> None:
    """Writes the file whole or not at all; numbers of numpy and tuples are taken as well.

    Raises ValueError naming the field where the schema does not hold or a number is not finite.
    """
    text = json.dumps(metrics, indent=1, ensure_ascii=False, default=_plain)
    _check(json.loads(text), path)
    write_text(path, text + "\n")


def read_metrics_file(path: pathlib.Path) -> dict[str, Any]:
    """What the file says; ValueError naming file and field where the schema does not hold."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; scripts/evaluate.py writes it beside the results")
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}; evaluate the model again") from error
    _check(metrics, path)
    return metrics


@functools.cache
def metrics_schema() -> dict[str, Any]:
    """The schema as JSON Schema (draft 2020-12)."""
    return json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


def _check(metrics: Any, path: pathlib.Path) -> None:
    found = metrics.get("version", VERSION) if isinstance(metrics, Mapping) else VERSION
    if found != VERSION:
        raise ValueError(
            f"{path}: version is {found!r}; this program reads version {VERSION}, so evaluate the "
            "model again"
        )
    for problem in _problems(metrics, metrics_schema(), ""):
        raise ValueError(f"{path}: {problem}")


def _problems(value: Any, schema: Mapping[str, Any], field: str) -> Iterator[str]:
    """Says of each field that breaks the schema what it is and what it must be."""
    if "$ref" in schema:
        schema = metrics_schema()["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:  # only "nothing, or this"
        schema = {"type": "null"} if value is None else schema["anyOf"][-1]
        yield from _problems(value, schema, field)
        return
    wrong = _broken_rule(value, schema)
    if wrong:
        yield f"{field or 'the file'} is {_shown(value)}; it must be {wrong}"
    elif isinstance(value, dict):
        yield from _object_problems(value, schema, field)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _problems(item, schema.get("items", {}), f"{field}[{place}]")


def _object_problems(value: dict, schema: Mapping[str, Any], field: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{_below(field, name)} is missing"
    if len(value) < schema.get("minProperties", 0):
        yield f"{field} is empty"
    named, other = schema.get("properties", {}), schema.get("additionalProperties", {})
    for name, item in value.items():
        yield from _problems(item, named.get(name, other), _below(field, name))


def _broken_rule(value: Any, schema: Mapping[str, Any]) -> str:
    """What a single value must be and is not, in words; empty where it is."""
    if isinstance(value, float) and not math.isfinite(value):
        return "finite; leave out what could not be measured, and say so in the notes"
    wanted = schema.get("type", ())
    wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    kinds = tuple(kind for name in wanted for kind in KINDS[name])
    if wanted and (isinstance(value, bool) or not isinstance(value, kinds)):
        return f"of type {' or '.join(wanted)}"
    if "const" in schema and value != schema["const"]:
        return repr(schema["const"])
    if "enum" in schema and value not in schema["enum"]:
        return f"one of {', '.join(map(repr, schema['enum']))}"
    if "minimum" in schema and value < schema["minimum"]:
        return f"at least {schema['minimum']}"
    return "a text that is not empty" if value == "" and schema.get("minLength") else ""


def _below(field: str, name: str) -> str:
    plain = name.replace("_", "").isalnum()
    return (f"{field}.{name}" if field else name) if plain else f"{field}[{name!r}]"


def _shown(value: Any) -> str:
    said = repr(value)
    return said if len(said) <= 60 else f"{said[:57]}..."


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise ValueError(f"metrics hold {_shown(value)} of {type(value).__name__}, which JSON has not")
