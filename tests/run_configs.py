"""A small run for tests: GRPO of two updates a batch, evaluations in both modes, checkpoints."""

from dvmap_jax.config import RunConfig
from dvmap_jax.data.batches import DataConfig
from dvmap_jax.evaluation.evaluator import EvaluationConfig
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.rl.grpo import GRPOConfig
from dvmap_jax.survey.corpus import CorpusConfig
from dvmap_jax.train.log import LogConfig
from dvmap_jax.train.state import OptimizerConfig
from dvmap_jax.train.weights import WeightsConfig

TINY_RUN = RunConfig(
    num_steps=5,
    evaluate_every=2,
    save_every=1,
    sample_every=2,
    corpus=CorpusConfig(
        path="synthetic", heldout_path="", heldout_fraction=0.2, synthetic_archetypes=20
    ),
    data=DataConfig(template="answer", system_prompt="none", batch_size=4, max_prompt_length=256),
    weights=WeightsConfig(tokenizer="train:400"),
    model=ModelConfig(vocab_size=400, width=16, mlp_width=24, num_layers=1, head_dim=8),
    sampling=SamplingConfig(max_tokens=4),
    grpo=GRPOConfig(group_size=2, kl_coef=0.1, updates_per_rollout=2),
    optimizer=OptimizerConfig(micro_batch_size=2),
    evaluation=EvaluationConfig(
        modes=("score", "generate"),
        batch_size=2,
        questions=3,
        max_examples=40,
        max_generated=20,
        max_tokens=6,
    ),
    log=LogConfig(progress=False),
)
