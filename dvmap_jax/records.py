"""Frozen dataclass records to and from nested mappings: configs and saved descriptions."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

Record = TypeVar("Record")

NAMES = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}


def to_mapping(record: Any) -> dict[str, Any]:
    """Nested dict of a record's fields; tuples stay tuples, records become dicts."""
    return {field.name: _plain(getattr(record, field.name)) for field in dataclasses.fields(record)}


def from_mapping(kind: type[Record], mapping: Mapping[str, Any], path: str = "config") -> Record:
    """The record of class `kind` that `mapping` describes; absent keys take their defaults.

    Raises ValueError naming the key's path for an unknown key (with the nearest known one), a
    missing key and a value of another type. An integer is accepted where a number is due.
    """
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{path} is {mapping!r}; it must be a mapping of {kind.__name__}'s fields")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in mapping:
        if key not in fields:
            raise ValueError(f"{path}.{key} is unknown{nearest(str(key), fields, path)}")
    for name, field in fields.items():
        if name not in mapping and _required(field):
            raise ValueError(f"{path}.{name} is missing; it has no default")
    hints = typing.get_type_hints(kind)
    return kind(**{key: _value(hints[key], mapping[key], f"{path}.{key}") for key in mapping})


def nearest(key: str, known: typing.Iterable[str], path: str = "") -> str:
    """The end of an error message: the known key most like `key`, or all of them."""
    names = sorted(known)
    prefix = f"{path}." if path else ""
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {prefix}{close[0]}?"
    return f"; known keys: {', '.join(prefix + name for name in names)}"


def leaves(mapping: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every value in a nested mapping that is not itself a mapping."""
    for key, value in mapping.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            yield from leaves(value, name)
        else:
            yield name, list(value) if isinstance(value, tuple) else value


def changed_keys(
    old: Mapping[str, Any], new: Mapping[str, Any]
) -> dict[str, tuple[object, object]]:
    """Dotted keys whose values differ, with (old, new); a key absent on one side counts as None."""
    before, after = dict(leaves(old)), dict(leaves(new))
    keys = sorted(before.keys() | after.keys())
    pairs = {key: (before.get(key), after.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return value


def _required(field: dataclasses.Field) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _value(hint: Any, value: Any, path: str) -> Any:
    """`value` as the type `hint` asks for; raises ValueError where it is another."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _optional(hint, value, path)
    if origin is tuple:
        return _tuple(hint, value, path)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_mapping(hint, value, path)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ValueError(f"{path} is {value!r}; it must be {NAMES.get(hint, hint)}")
    return value


def _optional(hint: Any, value: Any, path: str) -> Any:
    inner = [part for part in typing.get_args(hint) if part is not type(None)]
    if len(inner) != 1:
        raise TypeError(f"{path} has the type {hint}; of unions only `X | None` is supported")
    return None if value is None else _value(inner[0], value, path)


def _tuple(hint: Any, value: Any, path: str) -> tuple:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{path} is {value!r}; it must be a list")
    parts = typing.get_args(hint)
    if len(parts) == 2 and parts[1] is Ellipsis:
        parts = (parts[0],) * len(value)
    if len(parts) != len(value):
        raise ValueError(f"{path} has {len(value)} values; it must have {len(parts)}")
    return tuple(
        _value(part, item, f"{path}[{index}]")
        for index, (part, item) in enumerate(zip(parts, value, strict=True))
    )
