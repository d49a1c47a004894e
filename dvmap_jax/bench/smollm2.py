"""SmolLM2-135M-Instruct on the real corpus's prompts: completions that end on their own.

Random weights of the same shape on prompts and completions of full length, to be set beside TRL,
need no workload of their own: `--workload=peers --peers=DIR` with a copy of the peers' files whose
`workload.py` has these sizes.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dvmap_jax.bench.flops import rollout_bytes, rollout_flops, update_flops
from dvmap_jax.bench.measure import measure
from dvmap_jax.bench.settings import BenchConfig, smollm_file
from dvmap_jax.bench.steps import fresh_state
from dvmap_jax.data.batches import DataConfig, PromptStream
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.rl.grpo import GRPOConfig
from dvmap_jax.rl.rewards import RewardConfig, reward_terms
from dvmap_jax.rl.rollouts import Rollouts, RolloutSampler, Sweeps
from dvmap_jax.survey.corpus import read_examples
from dvmap_jax.train.objectives import grpo_objective
from dvmap_jax.train.sources import branch_scorer
from dvmap_jax.train.state import OptimizerConfig
from dvmap_jax.train.update import make_update
from dvmap_jax.train.weights import load_model

CORPUS = "dvmap_corpus/dev.parquet"
DATA = DataConfig(batch_size=4)
SAMPLING = SamplingConfig(max_tokens=128)
GRPO = GRPOConfig()
REWARDS = RewardConfig()
LEARNING_RATE = 1e-6


def run(config: BenchConfig) -> dict[str, Any]:
    """Steps by phase, tokens and operations of what was really drawn."""
    path = config.shared / CORPUS
    if not path.exists():
        raise ValueError(f"{path} does not exist; name the folder that holds {CORPUS}: --shared")
    loaded = load_model(config.checkpoint or smollm_file(), "float32")
    tokenizer = Tokenizer.load(loaded.tokenizer)
    model = Transformer(loaded.config, config.compute)
    prompts = PromptStream(read_examples(path), tokenizer, DATA)
    bench = _Steps(model, tokenizer, loaded.params, config)
    found = measure(lambda i: bench.step(next(prompts), i), repeats=config.repeats, warmup=2)
    bench.drawn[:2] = []
    return {"step": found} | bench.work(found)


class _Steps:
    """The run's own sampler and update, and the lengths of all that was drawn."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, params: dict, config: BenchConfig):
        self.model = model
        self.sample = RolloutSampler(
            model, tokenizer, sampling=SAMPLING, grpo=GRPO, rewards=REWARDS, seed=0
        )
        size = min(config.micro_batch_size, DATA.batch_size)
        optimizer = OptimizerConfig(learning_rate=LEARNING_RATE, micro_batch_size=size)
        objective = grpo_objective(model, GRPO, SAMPLING.temperature)
        self.update = make_update(objective, model, optimizer, GRPO)
        self.reference = jax.tree.map(jnp.asarray, params)
        self.score = branch_scorer(model, optimizer, temperature=SAMPLING.temperature)
        self.state = fresh_state(self.reference, optimizer)
        self.drawn: list[dict[str, Any]] = []

    def step(self, batch, number: int) -> Iterator[str]:
        """A step in its phases. A rollout contains its rewards; `rewards` earns them once more."""
        rollouts = self.sample(self.state.params, batch, step=number, sweeps=self._sweeps)
        yield "rollout"
        for example, texts in zip(rollouts.examples, rollouts.completions, strict=True):
            for text in texts:
                reward_terms(text, example, REWARDS)
        yield "rewards"
        self.state, metrics = self.update(self.state, rollouts.batch)
        jax.block_until_ready((self.state, metrics))
        yield "update"
        self.drawn.append(self._drawn(rollouts))

    def _sweeps(self, levels, branches) -> Sweeps:
        return Sweeps(reference_logprobs=self.score(self.reference, levels, branches))

    def _drawn(self, rollouts: Rollouts) -> dict[str, Any]:
        prompts = np.asarray(rollouts.batch.levels[0].lengths)[:, 0]
        completions = np.asarray(rollouts.batch.mask).sum(axis=-1).astype(int)
        sizes, lengths = self.model.config, (prompts, completions)
        return {
            "prompt_tokens": int(prompts.sum()),
            "completion_tokens": int(completions.sum()),
            "ended": 1 - rollouts.metrics["response_length/clip_ratio"],
            "reward": rollouts.metrics["critic/rewards/mean"],
            "rollout_flops": rollout_flops(sizes, *lengths),
            "rollout_bytes": rollout_bytes(sizes, *lengths),
            "update_flops": update_flops(sizes, *lengths, reference=True),
        }

    def work(self, found: dict[str, Any]) -> dict[str, Any]:
        """Sets medians of tokens and operations beside the phases they belong to."""
        median = {name: float(np.median([d[name] for d in self.drawn])) for name in self.drawn[0]}
        tokens, whole = median["completion_tokens"], median["prompt_tokens"]
        flops = (median["rollout_flops"], median["update_flops"])
        found |= {"tokens": tokens, "model_flops": sum(flops)}
        found["phases"]["rollout"] |= {
            "tokens": tokens,
            "model_flops": flops[0],
            "least_bytes": median["rollout_bytes"],
        }
        found["phases"]["update"] |= {"tokens": tokens + whole, "model_flops": flops[1]}
        return {"drawn": self.drawn}
