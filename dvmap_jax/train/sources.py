"""Where an objective's batches come from: sampled completions, or the examples' own answers."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from dvmap_jax.config import RunConfig
from dvmap_jax.data.batches import PromptBatch, PromptStream
from dvmap_jax.data.questions import QuestionBatch, QuestionStream
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.data.trees import bucket
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import AnyLevel, Forest, Level, PackedLevel, branch_logprobs
from dvmap_jax.rl.distribution import OptionsBatch
from dvmap_jax.rl.rollouts import Rollouts, RolloutSampler, Sweeps, labelled_rollouts
from dvmap_jax.sharding import (
    constrain_rows,
    divided_into,
    own_rows,
    put_own_rows,
    read_rows,
    row_sharding,
)
from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.prompts import gold_completion
from dvmap_jax.train.micro import roots_at_a_time, split_rows
from dvmap_jax.train.state import OptimizerConfig

ROLLOUT, OLD, REFERENCE = "rollout", "old log-probabilities", "reference"  # names of programs


def batch_source(config: RunConfig, model: Transformer, tokenizer: Tokenizer) -> "BatchSource":
    """`source(params, prompts, step=..., reference=...) -> Rollouts` for the run's objective.

    Its `functions` are those it compiles, by the names that the run's programs have; it calls its
    `wait` with the names of those it is about to use.
    """
    make = {"grpo": GrpoSource, "sft": SftSource, "distribution": DistributionSource}
    return make[config.objective](config, model, tokenizer)


def stream_of(
    config: RunConfig, examples: Sequence[Example], tokenizer: Tokenizer
) -> PromptStream | QuestionStream:
    """What the run's objective is fed with: this process's rows of batches of the examples."""
    make = QuestionStream if config.objective == "distribution" else PromptStream
    return make(examples, tokenizer, config.data, own=own_rows(config.data.batch_size))


class SftSource:
    """Every prompt with its consensus as the completion."""

    def __init__(self, config: RunConfig, model: Transformer, tokenizer: Tokenizer):
        self.tokenizer, self.template = tokenizer, config.data.template
        self.functions: dict[str, Any] = {}
        self.wait: Callable[[str], None] = lambda name: None

    def __call__(self, params: dict, prompts: PromptBatch, *, step: int, reference) -> Rollouts:
        """The batch of these prompts, whatever the parameters and the step."""
        return labelled_rollouts(prompts, self.tokenizer, template=self.template)

    def longest(self, examples: Sequence[Example]) -> int:
        """Tokens that the longest completion of these examples is padded to."""
        texts = {gold_completion(example, template=self.template) for example in examples}
        rows = self.tokenizer.encode_batch(sorted(texts))
        return bucket(max(len(row) for row in rows) + len(self.tokenizer.eos_ids[:1]))


class DistributionSource:
    """Every archetype with its questions, all their options, and what its respondents answered."""

    def __init__(self, config: RunConfig, model: Transformer, tokenizer: Tokenizer):
        self.functions: dict[str, Any] = {}
        self.wait: Callable[[str], None] = lambda name: None

    def __call__(self, params: dict, questions: QuestionBatch, *, step: int, reference) -> Rollouts:
        """The batch of these questions, whatever the parameters and the step."""
        roots = questions.num_roots
        own = {name: getattr(questions, name) for name in ("support", "tokens", "left_out")}
        told = read_rows(put_own_rows(own, roots))
        batch = OptionsBatch(
            levels=tuple(Level(*level) for level in questions.levels),
            forest=Forest(*questions.forest),
            paths=questions.paths,
            lengths=questions.lengths,
            shares=questions.shares,
            support=questions.support,
        )
        return Rollouts(
            batch=put_own_rows(batch, roots),
            examples=(),
            rows=np.arange(0),
            completions=(),
            rewards=None,
            metrics={
                "data/questions": float((told["support"] > 0).sum()),
                "data/left_out": float(told["left_out"].sum()),
            },
            num_tokens=int(told["tokens"].sum()),
        )

    def longest(self, examples: Sequence[Example]) -> int:
        """No completion is written: 0."""
        return 0


class GrpoSource:
    """A group of sampled completions for every prompt, scored while the host rewards them.

    Where a batch serves several updates the old log-probabilities are those of the trainer
    before the first of them; where it serves one they are the policy's own. The reference's are
    there where there is one.
    """

    def __init__(self, config: RunConfig, model: Transformer, tokenizer: Tokenizer):
        self._sample = RolloutSampler(
            Transformer(model.config, config.compute, layout=config.mesh.decode),
            tokenizer,
            sampling=config.sampling,
            grpo=config.grpo,
            rewards=config.rewards,
            seed=config.seed,
            packing=config.optimizer.packing,
        )
        self._score = run_scorer(config, model)
        self._several = config.grpo.updates_per_rollout > 1
        self.functions = {name: self._score for name in (OLD, REFERENCE)}
        self.functions[ROLLOUT] = self._sample.decode
        self.wait: Callable[[str], None] = lambda name: None

    def __call__(self, params: dict, prompts: PromptBatch, *, step: int, reference) -> Rollouts:
        """The batch of these prompts, drawn with these parameters."""

        def scored(name: str, params, levels, branches):
            self.wait(packed_name(name, packed_rows(levels, branches)))
            return self._score(params, levels, branches)

        def sweeps(levels, branches) -> Sweeps:
            old = scored(OLD, params, levels, branches) if self._several else None
            if reference is None:
                return Sweeps(old)
            return Sweeps(old, scored(REFERENCE, reference, levels, branches))

        self.wait(ROLLOUT)
        return self._sample(params, prompts, step=step, sweeps=sweeps)

    def longest(self, examples: Sequence[Example]) -> int:
        """Tokens that the longest completion is padded to."""
        return self._sample.max_tokens


def packed_name(name: str, rows: int) -> str:
    """The name of a program for batches with that many packed rows a prompt; 0: not packed."""
    return f"{name}, {rows} rows a prompt" if rows else name


def packed_rows(levels: tuple[Level, ...], branches: AnyLevel) -> int:
    """Rows that the branches of a prompt are packed into, 0 where they are not."""
    if not isinstance(branches, PackedLevel):
        return 0
    return branches.tokens.shape[1] // levels[-1].tokens.shape[1]


BatchSource = SftSource | DistributionSource | GrpoSource


def run_scorer(config: RunConfig, model: Transformer):
    """The `branch_scorer` of a run."""
    how = {"temperature": config.sampling.temperature, "updates": config.grpo.updates_per_rollout}
    return branch_scorer(model, config.optimizer, **how)


def branch_scorer(
    model: Transformer, optimizer: OptimizerConfig, *, temperature: float = 1.0, updates: int = 1
):
    """`score(params, levels, branches) -> [B, M, R]`: log-probabilities as the update has them.

    The old ones with the policy's parameters before an update, the reference's with its own. Roots
    of one of the `updates` of a batch are computed in the optimizer's micro-batches.
    """

    def score(params, levels, branches):
        def one(rows):
            rows = jax.tree.map(constrain_rows, rows)
            return branch_logprobs(model, params, *rows, temperature=temperature)[0]

        tree = (*levels, branches)
        share = branches.tokens.shape[0] // updates
        parts = divided_into("batch", "update")
        size = roots_at_a_time(optimizer, share, tree=tree, parts=parts)
        logprobs = jax.lax.map(one, split_rows((levels, branches), size))
        return constrain_rows(logprobs.reshape(-1, *logprobs.shape[2:]))

    # Said outright, since the compiler may call the same division by another name.
    mesh = jax.sharding.get_mesh()
    return jax.jit(score, out_shardings=None if mesh.empty else row_sharding(mesh))
