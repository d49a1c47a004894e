"""The programs of a run at their shapes: lowered for a mesh, its devices there or not."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from dvmap_jax.config import RunConfig
from dvmap_jax.data.forests import ForestShape, padded
from dvmap_jax.data.packing import row_numbers
from dvmap_jax.data.questions import QuestionShapes
from dvmap_jax.data.trees import bucket
from dvmap_jax.evaluation.evaluator import generation_sampling
from dvmap_jax.evaluation.scoring import option_scorer
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.decode import make_decoder
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Forest, Level, PackedLevel
from dvmap_jax.rl.distribution import OptionsBatch
from dvmap_jax.rl.rollouts import BranchBatch, RolloutBatch
from dvmap_jax.sharding import divided_into, replicated, row_sharding, rows_on_mesh
from dvmap_jax.train.costs import TreeShape, Work, decode_work, forward_flops, update_work
from dvmap_jax.train.measure import EVALUATION, Rows
from dvmap_jax.train.micro import roots_at_a_time
from dvmap_jax.train.placement import placed_reference, placed_state, update_of
from dvmap_jax.train.sources import OLD, REFERENCE, ROLLOUT, packed_name, run_scorer
from dvmap_jax.train.state import TrainState

UPDATE = "update"  # a program's name
QUESTION_SHARE = 8  # of a prompt's tokens, one in so many is an archetype's question, not its trunk
OPTIONS, OPTION_TOKENS = 5, 24  # of a question, and of an option as it is scored


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled function at its shapes.

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


@dataclasses.dataclass(frozen=True)
class Shapes:
    """Padded sizes of a run's trees: its prompts, completions, and evaluations of either mode."""

    prompts: Rows | QuestionShapes
    completion: int
    drawn: Rows
    scored: ForestShape | None


def longest_shapes(config: RunConfig) -> Shapes:
    """The shapes of the longest prompts and completions that a config allows."""
    data, evaluation = config.data, config.evaluation
    longest = data.max_prompt_length
    trunk = (1, bucket(longest - longest // QUESTION_SHARE))
    question = bucket(max(longest // QUESTION_SHARE, 1))

    def forest(questions: int) -> ForestShape:
        return ForestShape(
            trunk=trunk[1],
            rows=questions,
            size=padded(question + OPTIONS * OPTION_TOKENS),
            places=questions * OPTIONS * OPTION_TOKENS,
            targets=questions * OPTIONS * OPTION_TOKENS,
        )

    prompts = (trunk, (data.questions, question))
    if config.objective == "distribution":
        sizes = (data.questions, OPTIONS, OPTION_TOKENS)
        prompts = QuestionShapes(forest(data.questions), *sizes)
    elif data.batch_by == "prompt":
        prompts = ((1, bucket(longest)),)
    return Shapes(
        prompts,
        config.sampling.max_tokens,
        (trunk, (evaluation.questions, question)),
        forest(evaluation.questions),
    )


def programs(
    config: RunConfig,
    model: ModelConfig,
    mesh: Mesh,
    *,
    shapes: Shapes | None = None,
    functions: Mapping[str, Any] | None = None,
    packed: bool = False,
) -> list[Program]:
    """What a run compiles, under its mesh, which must be the current one.

    Without `shapes` they have those of `longest_shapes`; `functions`, by name, are the run's own,
    without which others of the same make take their place. With `packed` those of batches whose
    completions share rows come last; they need less than the others.
    """
    found = _Programs(config, model, mesh, shapes or longest_shapes(config), functions or {})
    sampled = config.objective == "grpo" and config.optimizer.packing
    numbers = row_numbers(config.grpo.group_size) if packed and sampled else ()
    return found.all() + [one for rows in reversed(numbers) for one in found.of_update(rows)]


class _Programs:
    """The shapes that the programs of a run have in common."""

    def __init__(self, config: RunConfig, sizes: ModelConfig, mesh: Mesh, shapes, functions):
        self.config, self.mesh = config, mesh
        self.shapes, self.functions = shapes, functions
        self.model = Transformer(sizes, config.compute)
        self.decoder = Transformer(sizes, config.compute, layout=config.mesh.decode)
        self.state: TrainState = placed_state(config, self.model, mesh)
        self.reference = placed_reference(config, self.model, self.state)
        self.chips = mesh.size
        key = jax.eval_shape(lambda: jax.random.key(0))
        self.key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=replicated(mesh))

    def all(self) -> list[Program]:
        """The programs in the order in which a step comes to them."""
        config = self.config
        found = []
        if config.objective == "grpo":
            found.append(
                self._decode(ROLLOUT, self._trunk(config.data.batch_size, self.shapes.prompts))
            )
        found += self.of_update(0)
        makers = {"score": self._score, "generate": self._generate}
        return found + [makers[mode]() for mode in config.evaluation.modes]

    def of_update(self, rows: int) -> list[Program]:
        """The sweeps and the update of a batch with `rows` packed rows a prompt, 0: not packed."""
        config, found = self.config, []
        if config.objective == "grpo" and config.grpo.updates_per_rollout > 1:
            found.append(self._sweep(OLD, self.state.params, self._besides_params(), rows))
        if self.reference is not None:
            found.append(self._sweep(REFERENCE, self.reference, self.state, rows))
        if config.mesh.parallelism == "mesh":
            found.append(self._update(rows))
        return found

    def _rows(self, *shape: int, dtype=jnp.int32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=row_sharding(self.mesh))

    def _level(self, rows: int, branches: int, size: int) -> Level:
        return Level(self._rows(rows, branches, size), self._rows(rows, branches))

    def _trunk(self, roots: int, shape: Rows) -> tuple[Level, ...]:
        return tuple(self._level(roots, *level) for level in shape)

    def _function(self, name: str, make: Callable[[], Any]) -> Any:
        return self.functions[name] if name in self.functions else make()

    def _tree(self, levels, branches: int, size: int) -> TreeShape:
        rows = [level.tokens.shape[1:] for level in levels]
        return TreeShape((*rows, (branches, size)))

    def _decode(self, name: str, levels, sampling: SamplingConfig | None = None, samples=0):
        config, every_step = self.config, sampling is None
        sampling = sampling or config.sampling
        rows, prompts = levels[-1].lengths.shape
        branches = prompts * (samples or config.grpo.group_size)
        function = self._function(
            name, lambda: make_decoder(self.decoder, eos_ids=(0,), sampling=sampling)
        )
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

    def _batch(self, packed: int) -> BranchBatch | OptionsBatch:
        config = self.config
        if config.objective == "distribution":
            return self._options_batch(self.shapes.prompts)
        levels = self._trunk(config.data.batch_size, self.shapes.prompts)
        rows, prompts = levels[-1].lengths.shape
        sampled = config.objective == "grpo"
        branches = prompts * (config.grpo.group_size if sampled else 1)
        shape = (rows, branches, self.shapes.completion)
        floats = self._rows(*shape, dtype=jnp.float32)
        tree = {"levels": levels, "branches": self._level(*shape), "mask": floats}
        if packed:
            laid = self._rows(rows, prompts * packed, self.shapes.completion)
            tree["branches"] = PackedLevel(laid, laid, laid, self._rows(*shape))
        if not sampled:
            return BranchBatch(**tree)
        return RolloutBatch(
            **tree,
            advantages=self._rows(*shape[:2], dtype=jnp.float32),
            sampler_logprobs=floats,
            old_logprobs=floats if config.grpo.updates_per_rollout > 1 else None,
            reference_logprobs=None if self.reference is None else floats,
        )

    def _options_batch(self, shapes: QuestionShapes) -> OptionsBatch:
        roots = self.config.data.batch_size
        grid = (roots, shapes.questions, shapes.options)
        return OptionsBatch(
            *self._forest(roots, shapes.forest),
            paths=self._rows(*grid, shapes.tokens),
            lengths=self._rows(*grid),
            shares=self._rows(*grid, dtype=jnp.float32),
            support=self._rows(*grid[:2], dtype=jnp.float32),
        )

    def _forest(self, roots: int, shape: ForestShape) -> tuple[tuple[Level, ...], Forest]:
        """The trunk level and the forest of so many roots."""
        laid = self._rows(roots, shape.rows, shape.size)
        places, targets = (self._rows(roots, size) for size in (shape.places, shape.targets))
        forest = Forest(laid, laid, laid, places, self._rows(roots), targets, targets)
        return self._trunk(roots, ((1, shape.trunk),)), forest

    def _micro_batches(self, batch: BranchBatch | OptionsBatch) -> int:
        roots = self.config.data.batch_size
        share = roots // self.config.grpo.updates_per_rollout
        parts = divided_into("batch", "update")
        how = {"tree": batch.tree, "parts": parts}
        return roots // roots_at_a_time(self.config.optimizer, share, **how)

    def _update(self, rows: int) -> Program:
        batch = self._batch(rows)
        work = update_work(
            self.model.config,
            self._tree(batch.levels, *batch.tree[-1].tokens.shape[1:]),
            roots=self.config.data.batch_size,
            micro_batches=self._micro_batches(batch),
            chips=self.chips,
        )
        function = self._function(UPDATE, lambda: update_of(self.config, self.model, self.state))
        arguments = (self.state, batch)
        name = packed_name(UPDATE, rows)
        return Program(name, function, arguments, self.reference, work, not rows)

    def _sweep(self, name: str, params, resident, rows: int) -> Program:
        """The log-probabilities of an update's batch before the update."""
        batch = self._batch(rows)
        arguments = (params, batch.levels, batch.branches)
        work = self._scoring(batch.levels, batch.branches)
        function = self._function(name, lambda: run_scorer(self.config, self.model))
        name = packed_name(name, rows)
        return Program(name, function, arguments, resident, work, not rows)

    def _scoring(self, levels, branches: Level) -> Work:
        rows, number, size = branches.tokens.shape
        tree = self._tree(levels, number, size)
        flops = rows * forward_flops(self.model.config, tree, scored=number * size)
        return Work(flops, 0.0)

    def _score(self) -> Program:
        name, shape = EVALUATION["score"], self.shapes.scored
        roots = rows_on_mesh(self.config.evaluation.batch_size)
        levels, forest = self._forest(roots, shape)
        tree = self._tree(levels, shape.rows, shape.size)
        flops = roots * forward_flops(self.model.config, tree, scored=shape.places)
        function = self._function(name, lambda: option_scorer(self.model))
        arguments = (self.state.params, levels, forest)
        work = Work(flops, 0.0)
        return Program(name, function, arguments, self._besides_params(), work, False)

    def _generate(self) -> Program:
        evaluation = self.config.evaluation
        rows = rows_on_mesh(evaluation.batch_size)
        levels = self._trunk(rows, self.shapes.drawn)
        sampling = generation_sampling(evaluation)
        return self._decode(EVALUATION["generate"], levels, sampling, evaluation.samples)
