"""GRPO steps on token ids: prompts in, completions, rewards and an updated state out."""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from dvmap_jax.bench.flops import rollout_bytes, rollout_flops, update_flops
from dvmap_jax.bench.settings import BenchConfig
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.decode import Completions, make_decoder
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level
from dvmap_jax.rl.grpo import GRPOConfig, group_advantages
from dvmap_jax.rl.rollouts import RolloutBatch
from dvmap_jax.train.objectives import grpo_objective
from dvmap_jax.train.sources import branch_scorer
from dvmap_jax.train.state import OptimizerConfig, TrainState, init_state, make_optimizer
from dvmap_jax.train.update import make_update

# The sizes of the peers' model, for workloads of ours alone.
SMALL = ModelConfig(
    vocab_size=8192,
    width=256,
    mlp_width=768,
    num_layers=6,
    num_heads=8,
    num_kv_heads=4,
    head_dim=32,
)


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and the prompts and completions of a step, all of full length."""

    model: ModelConfig = SMALL
    prompts: int = 8
    prompt_length: int = 384
    group: int = 8
    max_tokens: int = 128
    temperature: float = 1.0
    kl_coef: float = 0.001
    clip: float = 0.2
    learning_rate: float = 1e-6

    @property
    def prompt_lengths(self) -> np.ndarray:
        """Lengths [P]."""
        return np.full(self.prompts, self.prompt_length)

    @property
    def completion_lengths(self) -> np.ndarray:
        """Lengths [P, G]."""
        return np.full((self.prompts, self.group), self.max_tokens)

    def prompt_ids(self, step: int) -> np.ndarray:
        """Random prompts [P, T], others each step."""
        rng = np.random.default_rng([self.prompt_length, step])
        shape = (self.prompts, self.prompt_length)
        return rng.integers(0, self.model.vocab_size, shape, dtype=np.int32)

    def completion_ids(self) -> np.ndarray:
        """Random completions [P, G, R]."""
        rng = np.random.default_rng(self.max_tokens)
        shape = (self.prompts, self.group, self.max_tokens)
        return rng.integers(0, self.model.vocab_size, shape, dtype=np.int32)

    def rollout_work(self, itemsize: int = 4) -> dict[str, float]:
        """Tokens, operations and bytes of a rollout."""
        lengths = (self.prompt_lengths, self.completion_lengths)
        return {
            "tokens": self.completion_lengths.sum().item(),
            "model_flops": rollout_flops(self.model, *lengths),
            "least_bytes": rollout_bytes(self.model, *lengths, itemsize),
        }

    def update_work(self) -> dict[str, float]:
        """Tokens of the tree, each once, and operations of an update with its reference's."""
        lengths = (self.prompt_lengths, self.completion_lengths)
        flops = update_flops(self.model, *lengths, reference=self.kl_coef > 0)
        tokens = sum(length.sum().item() for length in lengths)
        return {"tokens": tokens, "model_flops": flops}

    def step_work(self) -> dict[str, float]:
        """Tokens drawn and operations of a whole step."""
        rollout, update = self.rollout_work(), self.update_work()
        flops = rollout["model_flops"] + update["model_flops"]
        return {"tokens": rollout["tokens"], "model_flops": flops}


def reward(ids: np.ndarray) -> float:
    """Share of even token ids: something that differs inside a group."""
    return float(np.mean(ids % 2 == 0))


class Steps:
    """A policy, its reference and the compiled functions of a step; no end token is drawn."""

    def __init__(self, case: Case, params: dict, config: BenchConfig):
        self.case = case
        self.model = Transformer(case.model, config.compute)
        self.reference = jax.tree.map(jnp.asarray, params)
        sampling = SamplingConfig(temperature=case.temperature, max_tokens=case.max_tokens)
        never = (case.model.vocab_size,)  # no token has this number
        self.decoder = make_decoder(self.model, eos_ids=never, sampling=sampling)
        grpo = GRPOConfig(
            group_size=max(case.group, 2),
            kl_coef=case.kl_coef,
            clip_low=case.clip,
            clip_high=case.clip,
        )
        self._optimizer = OptimizerConfig(
            learning_rate=case.learning_rate,
            weight_decay=0.0,
            micro_batch_size=min(config.micro_batch_size, case.prompts),
        )
        objective = grpo_objective(self.model, grpo, case.temperature)
        self.update = make_update(objective, self.model, self._optimizer, grpo)
        self.scorer = branch_scorer(self.model, self._optimizer, temperature=case.temperature)
        self.reset()

    def reset(self) -> None:
        """The state before the first update."""
        self.state = fresh_state(self.reference, self._optimizer)

    def decoder_inputs(self, prompts: np.ndarray, step: int):
        """What the decoder takes: parameters, levels, rows of random numbers, the step's key."""
        count = self.case.prompts * self.case.group
        rows = np.arange(count, dtype=np.int32).reshape(self.case.prompts, -1)
        key = jax.random.fold_in(jax.random.key(0), step)
        return self.state.params, levels_of(prompts), rows, key

    def rollout(self, prompts: np.ndarray, step: int) -> Completions:
        """Completions of the prompts [P, T], on the host."""
        drawn = jax.device_get(self.decoder(*self.decoder_inputs(prompts, step)))
        short = drawn.lengths < self.case.max_tokens
        if short.any():
            raise ValueError(f"{short.sum()} completions ended; none can, as no token ends them")
        return drawn

    def swept(self, levels: tuple[Level, ...], branches: Level):
        """Log-probabilities of the branches under the reference, still being computed."""
        return self.scorer(self.reference, levels, branches)

    def learn(self, batch: RolloutBatch) -> dict[str, float]:
        """One update of the state, after the reference's sweep where it is missing; its metrics."""
        if batch.reference_logprobs is None:
            batch = batch.replace(reference_logprobs=self.swept(batch.levels, batch.branches))
        self.state, metrics = self.update(self.state, batch)
        jax.block_until_ready(self.state)
        return {name: float(value) for name, value in metrics.items()}

    def step(self, prompts: np.ndarray, number: int, reward_of: Callable = reward) -> Iterator[str]:
        """A step in its phases; each name says what has just ended."""
        drawn = self.rollout(prompts, number)
        yield "rollout"
        levels, branches = levels_of(prompts), Level(drawn.tokens, drawn.lengths)
        known = self.swept(levels, branches)  # while the host rewards
        rewards = rewards_of(drawn.tokens, reward_of)
        batch = rollout_batch(levels, drawn.tokens, rewards, drawn.logprobs)
        yield "rewards"
        self.learn(batch.replace(reference_logprobs=known))
        yield "update"


def fresh_state(params: dict, optimizer: OptimizerConfig) -> TrainState:
    """The state before the first update, with a copy of the parameters: an update takes its state.

    Made in one program, as a run does: were its parts placed in different ways, the second
    update would be another program than the first.
    """
    transform = make_optimizer(optimizer)
    return jax.jit(lambda given: init_state(jax.tree.map(jnp.copy, given), transform))(params)


def levels_of(prompts: np.ndarray) -> tuple[Level, ...]:
    """Prompts [P, T] as the one level of P trees."""
    return (Level(prompts[:, None], np.full((len(prompts), 1), prompts.shape[1], np.int32)),)


def rewards_of(tokens: np.ndarray, reward_of: Callable[[np.ndarray], float]) -> np.ndarray:
    """Rewards [P, G] of completions [P, G, R]."""
    return np.asarray([[reward_of(row) for row in group] for group in tokens], np.float32)


def rollout_batch(
    levels: tuple[Level, ...],
    tokens: np.ndarray,
    rewards: np.ndarray,
    sampler_logprobs: np.ndarray | None = None,
) -> RolloutBatch:
    """What an update takes of completions [P, G, R] of full length and their rewards."""
    whole = np.full(tokens.shape[:2], tokens.shape[2], np.int32)
    ones = np.ones(tokens.shape, np.float32)
    return RolloutBatch(
        levels=levels,
        branches=Level(tokens, whole),
        mask=ones,
        advantages=np.asarray(group_advantages(rewards)),
        sampler_logprobs=0 * ones if sampler_logprobs is None else sampler_logprobs,
    )
