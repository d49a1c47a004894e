"""The programs of a run at their longest shapes: lowered for a mesh, its devices there or not."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from dvmap_jax.config import RunConfig
from dvmap_jax.data.trees import bucket
from dvmap_jax.evaluation.evaluator import generation_sampling, option_scorer
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.decode import make_decoder
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level
from dvmap_jax.rl.rollouts import BranchBatch, RolloutBatch
from dvmap_jax.sharding import divided_into, row_sharding, rows_on_mesh
from dvmap_jax.train.costs import TreeShape, Work, decode_work, forward_flops, update_work
from dvmap_jax.train.micro import roots_at_a_time
from dvmap_jax.train.placement import placed_reference, placed_state, update_of
from dvmap_jax.train.sources import branch_scorer
from dvmap_jax.train.state import TrainState

QUESTION_SHARE = 8  # of a prompt's tokens, one in so many is an archetype's question, not its trunk
OPTIONS, OPTION_TOKENS = 5, 24  # of a question, and of an option as it is scored


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled function at its longest shapes.

    `resident` are arrays that lie on the devices meanwhile without being its arguments; `work` is
    what one step of the run asks of it, where the run uses it every step.
    """

    name: str
    function: Any
    arguments: tuple
    resident: Any
    work: Work
    every_step: bool

    def lower(self) -> jax.stages.Lowered:
        """The program traced and ready to be compiled."""
        return self.function.lower(*self.arguments)


def programs(config: RunConfig, model: ModelConfig, mesh: Mesh) -> list[Program]:
    """What a run compiles, under its mesh, which must be the current one."""
    return _Programs(config, model, mesh).all()


class _Programs:
    """The shapes that the programs of a run have in common."""

    def __init__(self, config: RunConfig, sizes: ModelConfig, mesh: Mesh):
        self.config, self.mesh = config, mesh
        self.model = Transformer(sizes, config.compute)
        self.decoder = Transformer(sizes, config.compute, layout=config.mesh.decode)
        self.state: TrainState = placed_state(config, self.model, mesh)
        self.reference = placed_reference(config, self.model, self.state)
        self.chips = mesh.size
        self.key = jax.eval_shape(lambda: jax.random.key(0))

    def all(self) -> list[Program]:
        """The programs in the order in which a step comes to them."""
        config = self.config
        found = []
        if config.objective == "grpo":
            found.append(self._decode("rollout", self._trunk(config.data.batch_size)))
        if config.objective == "grpo" and config.grpo.updates_per_rollout > 1:
            found.append(self._old())
        if self.reference is not None:
            found.append(self._reference())
        if config.mesh.parallelism == "mesh":
            found.append(self._update())
        makers = {"score": self._score, "generate": self._generate}
        return found + [makers[mode]() for mode in config.evaluation.modes]

    def _rows(self, *shape: int, dtype=jnp.int32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=row_sharding(self.mesh))

    def _level(self, rows: int, branches: int, size: int) -> Level:
        return Level(self._rows(rows, branches, size), self._rows(rows, branches))

    def _trunk(self, rows: int, *, archetypes: bool | None = None, questions: int = 0):
        """The levels of the longest prompts: one, or an archetype's part and its questions'."""
        data = self.config.data
        longest = data.max_prompt_length
        if data.batch_by == "prompt" if archetypes is None else not archetypes:
            return (self._level(rows, 1, bucket(longest)),)
        question = bucket(max(longest // QUESTION_SHARE, 1))
        number = questions or data.questions
        return (
            self._level(rows, 1, bucket(longest - longest // QUESTION_SHARE)),
            self._level(rows, number, question),
        )

    def _tree(self, levels, branches: int, size: int) -> TreeShape:
        rows = [level.tokens.shape[1:] for level in levels]
        return TreeShape((*rows, (branches, size)))

    def _decode(self, name: str, levels, sampling: SamplingConfig | None = None, samples=0):
        config, every_step = self.config, sampling is None
        sampling = sampling or config.sampling
        rows, prompts = levels[-1].lengths.shape
        branches = prompts * (samples or config.grpo.group_size)
        function = make_decoder(self.decoder, eos_ids=(0,), sampling=sampling)
        arguments = (self.state.params, levels, self._rows(rows, branches), self.key)
        size = sampling.batch_size or rows
        work = decode_work(
            self.model.config,
            self._tree(levels, branches, sampling.max_tokens),
            roots=rows,
            parts=rows // size,
            weight_shards=divided_into("heads", config.mesh.decode),
            chips=self.chips,
        )
        return Program(name, function, arguments, self._besides_params(), work, every_step)

    def _besides_params(self):
        return self.state.replace(params=None), self.reference

    def _batch(self) -> BranchBatch:
        config = self.config
        levels = self._trunk(config.data.batch_size)
        rows, prompts = levels[-1].lengths.shape
        sampled = config.objective == "grpo"
        branches = prompts * (config.grpo.group_size if sampled else 1)
        size = min(bucket(config.sampling.max_tokens), config.sampling.max_tokens)
        shape = (rows, branches, size)
        floats = self._rows(*shape, dtype=jnp.float32)
        tree = {"levels": levels, "branches": self._level(*shape), "mask": floats}
        if not sampled:
            return BranchBatch(**tree)
        return RolloutBatch(
            **tree,
            advantages=self._rows(*shape[:2], dtype=jnp.float32),
            sampler_logprobs=floats,
            old_logprobs=floats if config.grpo.updates_per_rollout > 1 else None,
            reference_logprobs=None if self.reference is None else floats,
        )

    def _micro_batches(self, batch: BranchBatch) -> int:
        roots = self.config.data.batch_size
        share = roots // self.config.grpo.updates_per_rollout
        parts = divided_into("batch", "update")
        how = {"tree": batch.tree, "parts": parts}
        return roots // roots_at_a_time(self.config.optimizer, share, **how)

    def _update(self) -> Program:
        batch = self._batch()
        work = update_work(
            self.model.config,
            self._tree(batch.levels, *batch.branches.tokens.shape[1:]),
            roots=self.config.data.batch_size,
            micro_batches=self._micro_batches(batch),
            chips=self.chips,
        )
        function = update_of(self.config, self.model, self.state)
        return Program("update", function, (self.state, batch), self.reference, work, True)

    def _old(self) -> Program:
        return self._sweep("old log-probabilities", self.state.params, self._besides_params())

    def _reference(self) -> Program:
        return self._sweep("reference", self.reference, self.state)

    def _sweep(self, name: str, params, resident) -> Program:
        """The log-probabilities of an update's batch before the update."""
        batch = self._batch()
        arguments = (params, batch.levels, batch.branches)
        work = self._scoring(batch.levels, batch.branches)
        return Program(
            name, branch_scorer(self.config, self.model), arguments, resident, work, True
        )

    def _scoring(self, levels, branches: Level) -> Work:
        rows, number, size = branches.tokens.shape
        tree = self._tree(levels, number, size)
        flops = rows * forward_flops(self.model.config, tree, scored=number * size)
        return Work(flops, 0.0)

    def _score(self) -> Program:
        evaluation = self.config.evaluation
        rows = rows_on_mesh(evaluation.batch_size)
        levels = self._trunk(rows, archetypes=True, questions=evaluation.questions)
        branches = self._level(rows, evaluation.questions * OPTIONS, bucket(OPTION_TOKENS))
        arguments = (self.state.params, levels, branches)
        work = self._scoring(levels, branches)
        function = option_scorer(self.model)
        return Program(
            "evaluation: score", function, arguments, self._besides_params(), work, False
        )

    def _generate(self) -> Program:
        evaluation = self.config.evaluation
        rows = rows_on_mesh(evaluation.batch_size)
        levels = self._trunk(rows, archetypes=True, questions=evaluation.questions)
        sampling = generation_sampling(evaluation)
        return self._decode("evaluation: generate", levels, sampling, evaluation.samples)
