"""Whoever is evaluated, asked alike: examples in, a row of results for each out."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
import pandas as pd

from dvmap_jax.data.batches import DataConfig
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.evaluation.baselines import Baseline, results_of
from dvmap_jax.evaluation.endpoint import EndpointConfig, answer_over_http
from dvmap_jax.evaluation.evaluator import EvaluationConfig, Evaluator
from dvmap_jax.evaluation.journal import Journal, digest
from dvmap_jax.evaluation.tabular import Tabular
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.records import to_mapping
from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.prompts import messages

# What rows depend on beside the model, by mode; batches only round, counts are in the digests.
SETTINGS = {"score": ("normalize",), "generate": ("samples", "temperature", "max_tokens", "seed")}
SAMPLED = 256  # entries of each array that a model is known by

Progress = Callable[[int, int], None]


class Ask(Protocol):
    """What answers examples: `name` is theirs alone, `template` another one than usual."""

    def __call__(
        self, examples: Sequence[Example], *, name: str, template: str | None = None
    ) -> pd.DataFrame:
        """One row an example, in their order."""


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model whose parameters are on the devices of this process; answers in the first mode."""

    model: Transformer
    params: dict
    tokenizer: Tokenizer
    config: EvaluationConfig
    data: DataConfig
    journal: Journal
    progress: Progress

    def __call__(
        self, examples: Sequence[Example], *, name: str, template: str | None = None
    ) -> pd.DataFrame:
        """Answers what the journal has not, and keeps each batch in it."""
        evaluator = self._evaluator(template or self.data.template)
        return evaluator(
            self.params,
            evaluator.prepare(examples, name=name),
            mode=self.config.modes[0],
            journal=self.journal,
            progress=lambda rows: self.progress(rows, len(examples)),
        )

    def _evaluator(self, template: str) -> Evaluator:
        if template not in self._evaluators:
            data = dataclasses.replace(self.data, template=template)
            self._evaluators[template] = Evaluator(
                self.model, self.tokenizer, config=self.config, data=data
            )
        return self._evaluators[template]

    @functools.cached_property
    def _evaluators(self) -> dict[str, Evaluator]:
        """By template, since each keeps what it compiled."""
        return {}


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A model reached over HTTP."""

    config: EndpointConfig
    data: DataConfig
    journal: Journal
    progress: Progress

    def __call__(
        self, examples: Sequence[Example], *, name: str, template: str | None = None
    ) -> pd.DataFrame:
        """Asks for what the journal has not; a call that failed for good is a row as well."""
        how = {"system_prompt": self.data.system_prompt}
        answer_over_http(
            examples,
            self.config,
            self.journal,
            benchmark=name,
            prompt=lambda e: messages(e, template=template or self.data.template, **how),
            progress=lambda rows: self.progress(rows, len(examples)),
        )
        return pd.DataFrame(self.journal.rows(name))


@dataclasses.dataclass(frozen=True)
class AskedBaseline:
    """A fitted baseline, to which a template is nothing."""

    fitted: Baseline | Tabular

    def __call__(
        self, examples: Sequence[Example], *, name: str, template: str | None = None
    ) -> pd.DataFrame:
        """Its shares of each example's options."""
        return results_of(self.fitted, examples, benchmark=name)


def described(
    source: str,
    *,
    mode: str,
    data: DataConfig,
    settings: Mapping[str, Any],
    benchmarks: Mapping[str, Sequence[Example]],
) -> dict[str, Any]:
    """What an evaluation is, as the first line of a journal and as `settings` of its metrics."""
    return {
        "model": source,
        "mode": mode,
        "template": data.template,
        "system_prompt": data.system_prompt,
        **settings,
        "benchmarks": {name: digest(examples) for name, examples in benchmarks.items()},
    }


def model_settings(config: EvaluationConfig, params: dict, *, dtype: str) -> dict[str, Any]:
    """What the rows of a loaded model depend on: its parameters, and how they are asked."""
    fields = to_mapping(config)
    chosen = {name: fields[name] for name in SETTINGS[config.modes[0]]}
    return {"weights": fingerprint(params), "dtype": dtype, **chosen}


def fingerprint(params: dict) -> str:
    """Names parameters by the first entries of every array, so that other weights have another."""
    told = hashlib.sha256()
    for path, value in jax.tree_util.tree_leaves_with_path(params):
        first = value[(0,) * (value.ndim - 1)][:SAMPLED]
        told.update(f"{jax.tree_util.keystr(path)} {value.shape}".encode())
        told.update(np.asarray(first, np.float32).tobytes())
    return told.hexdigest()[:16]
