"""Records come back from mappings as they were, and mistakes are named."""

import dataclasses
import json

import pytest

from dvmap_jax.records import changed_keys, from_mapping, to_mapping


@dataclasses.dataclass(frozen=True)
class Scaling:
    factor: float
    window: int = 8


@dataclasses.dataclass(frozen=True)
class Group:
    group_size: int = 8
    clip: float = 0.2
    exact: bool = True

    def __post_init__(self):
        if self.group_size < 2:
            raise ValueError(f"grpo.group_size is {self.group_size}; it needs at least 2")


@dataclasses.dataclass(frozen=True)
class Run:
    name: str = "run"
    countries: tuple[str, ...] = ()
    span: tuple[int, float] = (1, 2.0)
    grpo: Group = Group()
    scaling: Scaling | None = None


FULL = Run("a", ("Egypt", "Japan"), (3, 0.5), Group(4, 0.1, False), Scaling(2.0))


@pytest.mark.parametrize("record", [Run(), FULL])
def test_mapping_and_json_give_the_record_back(record):
    assert from_mapping(Run, to_mapping(record)) == record
    assert from_mapping(Run, json.loads(json.dumps(to_mapping(record)))) == record


def test_absent_keys_take_their_defaults():
    assert from_mapping(Run, {"grpo": {"clip": 0.3}}) == Run(grpo=Group(clip=0.3))


def test_integer_becomes_a_number_where_a_number_is_due():
    clip = from_mapping(Run, {"grpo": {"clip": 1}}).grpo.clip
    assert type(clip) is float
    assert clip == 1.0


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"grpo": {"grup_size": 4}}, r"config\.grpo\.grup_size is unknown; did you mean "),
        ({"grpo": {"grup_size": 4}}, r"did you mean config\.grpo\.group_size\?"),
        ({"zzz": 4}, r"config\.zzz is unknown; known keys: config\.countries, "),
        ({"grpo": {"group_size": "x"}}, r"config\.grpo\.group_size is 'x'; it must be an integer"),
        ({"grpo": {"group_size": 4.0}}, r"group_size is 4\.0; it must be an integer"),
        ({"grpo": {"group_size": True}}, r"group_size is True; it must be an integer"),
        ({"grpo": {"clip": "0.1"}}, r"clip is '0\.1'; it must be a number"),
        ({"grpo": {"exact": 1}}, r"exact is 1; it must be true or false"),
        ({"name": None}, r"config\.name is None; it must be a string"),
        ({"countries": "Egypt"}, r"config\.countries is 'Egypt'; it must be a list"),
        ({"countries": ["Egypt", 3]}, r"config\.countries\[1\] is 3; it must be a string"),
        ({"span": [1]}, r"config\.span has 1 values; it must have 2"),
        ({"grpo": 3}, r"config\.grpo is 3; it must be a mapping of Group's fields"),
        ({"scaling": {}}, r"config\.scaling\.factor is missing"),
        ({"grpo": {"group_size": 1}}, r"grpo\.group_size is 1; it needs at least 2"),
    ],
)
def test_mistakes_are_named_with_their_path(mapping, message):
    with pytest.raises(ValueError, match=message):
        from_mapping(Run, mapping)


def test_changed_keys_are_those_that_differ_at_any_depth():
    old, new = to_mapping(Run()), json.loads(json.dumps(to_mapping(FULL)))
    assert changed_keys(old, to_mapping(Run())) == {}
    assert changed_keys(old, new)["grpo.group_size"] == (8, 4)
    assert changed_keys(old, new)["countries"] == ([], ["Egypt", "Japan"])
    assert changed_keys(old, new)["scaling.factor"] == (None, 2.0)
