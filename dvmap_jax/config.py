"""Everything that decides a run in one record, and its way to and from files and flags."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import ml_collections

from dvmap_jax.data.batches import DataConfig
from dvmap_jax.evaluation.evaluator import EvaluationConfig
from dvmap_jax.model.config import ComputeConfig, ModelConfig
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.records import from_mapping, to_mapping
from dvmap_jax.rl.distribution import DistributionConfig
from dvmap_jax.rl.grpo import GRPOConfig
from dvmap_jax.rl.rewards import RewardConfig
from dvmap_jax.sharding import MeshConfig
from dvmap_jax.survey.corpus import CorpusConfig
from dvmap_jax.train.checkpoints import CheckpointConfig
from dvmap_jax.train.log import LogConfig
from dvmap_jax.train.state import OptimizerConfig
from dvmap_jax.train.weights import WeightsConfig

OBJECTIVES = ("grpo", "sft", "distribution")
WARM_STARTS = ("sft", "distribution")
PREFLIGHTS = ("auto", "on", "off")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """A training run; a period of 0 means never, a warm start of 0 steps means none.

    The objective "distribution" learns the shares of people's answers, "sft" imitates the most
    frequent one, "grpo" learns from rewards of its own completions. The warm start has one of the
    first two, takes `warm_start_questions` of an archetype together (0: `data.questions`), and
    comes before the first step. A run stops early where `early_stopping` evaluations in a row were
    worse than the best by `checkpoints.best_metric` (0: never).
    `model` gives the sizes where the weights are random; otherwise they come with the weights.
    `preflight` waits until every program is compiled before the first step, so that a run that
    does not fit its devices stops at once: "auto" does so on all devices but CPUs.
    `compilation_cache` is a folder that keeps compiled programs for the next start, "off", or
    "auto": JAX_COMPILATION_CACHE_DIR where it is set (empty: none), else one of the user's.
    """

    objective: str = "grpo"
    num_steps: int = 100
    seed: int = 0
    evaluate_every: int = 0
    save_every: int = 0
    sample_every: int = 0
    early_stopping: int = 0
    warm_start_objective: str = "sft"
    warm_start_steps: int = 0
    warm_start_learning_rate: float = 1e-3
    warm_start_schedule: str = "constant"
    warm_start_batch_size: int = 32
    warm_start_questions: int = 0
    export: bool = True
    preflight: str = "auto"
    compilation_cache: str = "auto"
    corpus: CorpusConfig = CorpusConfig()
    data: DataConfig = DataConfig()
    weights: WeightsConfig = WeightsConfig()
    model: ModelConfig = ModelConfig()
    compute: ComputeConfig = ComputeConfig()
    mesh: MeshConfig = MeshConfig()
    sampling: SamplingConfig = SamplingConfig()
    rewards: RewardConfig = RewardConfig()
    grpo: GRPOConfig = GRPOConfig()
    distribution: DistributionConfig = DistributionConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()

    def __post_init__(self):
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective is {self.objective!r}; it must be one of {OBJECTIVES}")
        if self.preflight not in PREFLIGHTS:
            raise ValueError(f"preflight is {self.preflight!r}; it must be one of {PREFLIGHTS}")
        for name in ("num_steps", "evaluate_every", "save_every", "sample_every", "early_stopping"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if self.early_stopping and not self.evaluate_every:
            raise ValueError(
                f"early_stopping is {self.early_stopping} evaluations, and evaluate_every is 0, "
                "which is never; set one of them"
            )
        self._check_warm_start()
        self._check_group_reward()
        self._check_split("data.batch_size", self.data.batch_size, self.grpo.updates_per_rollout)
        if not self.compilation_cache:
            raise ValueError("compilation_cache is empty; it must be 'auto', 'off' or a folder")

    def _check_warm_start(self) -> None:
        if self.warm_start_steps < 0 or self.warm_start_batch_size < 1:
            raise ValueError(
                f"warm_start_steps is {self.warm_start_steps} and warm_start_batch_size "
                f"{self.warm_start_batch_size}; they must be at least 0 and 1"
            )
        if self.warm_start_objective not in WARM_STARTS or self.warm_start_questions < 0:
            raise ValueError(
                f"warm_start_objective is {self.warm_start_objective!r} and warm_start_questions "
                f"{self.warm_start_questions}; they must be one of {WARM_STARTS} and at least 0"
            )
        if self.warm_start_schedule not in OptimizerConfig.SCHEDULES:
            raise ValueError(
                f"warm_start_schedule is {self.warm_start_schedule!r}; it must be one of "
                f"{OptimizerConfig.SCHEDULES}"
            )
        if self.warm_start_learning_rate <= 0:
            raise ValueError(
                f"warm_start_learning_rate is {self.warm_start_learning_rate}; it must be positive"
            )
        if self.warm_start_steps:
            self._check_split("warm_start_batch_size", self.warm_start_batch_size, 1)

    def _check_group_reward(self) -> None:
        """Raises ValueError where the gradient of a group's reward would not be its score's."""
        if self.objective != "grpo" or not self.rewards.of_group:
            return
        grpo, sampling = self.grpo, self.sampling
        needed = (
            ("grpo.group_size", grpo.group_size, grpo.group_size >= 3, "3 or more"),
            ("grpo.normalize_by_std", grpo.normalize_by_std, not grpo.normalize_by_std, "False"),
            ("grpo.mask_truncated", grpo.mask_truncated, not grpo.mask_truncated, "False"),
            ("sampling.top_k", sampling.top_k, not sampling.top_k, "0"),
            ("sampling.top_p", sampling.top_p, sampling.top_p == 1, "1"),
        )
        for name, value, met, wanted in needed:
            if not met:
                raise ValueError(
                    f"{name} is {value}, with which the gradient of rewards.kind = "
                    f"{self.rewards.kind!r} is not that of its score; set {name} to {wanted}, or "
                    "choose another rewards.kind"
                )

    def _check_split(self, name: str, size: int, updates: int) -> None:
        """Raises ValueError where a batch does not divide into updates and micro-batches."""
        micro = self.optimizer.micro_batch_size
        if self.optimizer.micro_batch_tokens and self.grpo.token_mean_scope == "micro":
            raise ValueError(
                "grpo.token_mean_scope is 'micro', a mean over micro-batches, whose sizes would "
                "change with optimizer.micro_batch_tokens; use optimizer.micro_batch_size"
            )
        if size % updates or (micro and size // updates % micro):
            raise ValueError(
                f"{name} is {size}; it must divide into grpo.updates_per_rollout = {updates} "
                f"updates of micro-batches of optimizer.micro_batch_size = {micro or 'all'}"
            )


def config_dict(record: Any) -> ml_collections.ConfigDict:
    """The record as a locked ConfigDict: known keys only, each keeping the type it has."""
    return ml_collections.ConfigDict(to_mapping(record)).lock()


def aimed_at_shares(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The config with a reward, and a choice of the best step, that people's shares are best by."""
    config.rewards.kind = "quadratic"
    config.grpo.normalize_by_std = False
    config.checkpoints.best_metric = "eval/score/nll"
    config.checkpoints.best_mode = "min"
    return config


def distribution_dict(weights: str, preset: str, *, decoded: int) -> ml_collections.ConfigDict:
    """A pretrained model that learns people's shares, on the mesh of `paper_dict`.

    Its GRPO settings are for a second run from the first one's result, with a chain of thought:
    objective "grpo", template "reasoning", `weights.source` the first run's workdir.
    """
    config = paper_dict(weights, preset, decoded=decoded)
    config.objective = "distribution"
    config.early_stopping = 4
    config.data.template = "answer"
    config.data.batch_by = "archetype"
    config.data.attribute_dropout = 0.1
    config.data.option_order = "random"
    config.data.rewordings = True
    config.optimizer.learning_rate = 1e-5
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 20
    config.optimizer.decay_steps = config.num_steps
    config.optimizer.average_decay = 0.99
    return aimed_at_shares(config)


def paper_dict(weights: str, preset: str, *, decoded: int) -> ml_collections.ConfigDict:
    """GRPO on the paper's corpus at the original's lengths and batch, its faults repaired.

    Laid out for a slice or host of any number of devices that is even: parameters over all of
    them, eight prompts a micro-batch, `decoded` of them drawn from at a time.
    """
    config = config_dict(RunConfig(model=ModelConfig.preset(preset)))
    config.num_steps = 500
    config.evaluate_every = config.save_every = config.sample_every = 25
    config.corpus.path = "corpora/train.parquet"
    config.corpus.heldout_path = "corpora/dev.parquet"
    config.data.batch_size = 64
    config.sampling.max_tokens = 1024
    config.compute.dtype = "bfloat16"
    config.compute.logprob_chunk = 512
    config.evaluation.max_examples = 1024
    config.checkpoints.best_metric = "eval/score/accuracy"
    config.weights.source = weights
    config.optimizer.micro_batch_size = 8
    config.sampling.batch_size = decoded
    config.compute.attention_chunk = 128
    config.mesh.data = 1
    config.mesh.fsdp = -1
    config.mesh.tensor = 2
    config.mesh.decode = "swapped"
    return config


def parity_dict(weights: str, preset: str, *, decoded: int) -> ml_collections.ConfigDict:
    """`paper_dict` with what the original does otherwise: prompt, reward, mean and precision."""
    config = paper_dict(weights, preset, decoded=decoded)
    config.weights.param_dtype = "bfloat16"
    config.data.template = "released"
    config.data.system_prompt = "original_train"
    config.rewards.kind = "wvs"
    config.rewards.options_semantics = "string"
    config.grpo.token_mean_scope = "micro"
    config.optimizer.weight_decay_on = "all"
    return config


def scratch_dict(tokenizer: str, *, vocab_size: int) -> ml_collections.ConfigDict:
    """A small Qwen3 from scratch on short answers: people's shares, then GRPO towards them."""
    config = config_dict(RunConfig())
    config.warm_start_objective = "distribution"
    config.warm_start_learning_rate = 3e-3
    config.warm_start_schedule = "cosine"
    config.warm_start_batch_size = 16
    config.warm_start_questions = 16
    config.data.template = "answer"
    config.data.system_prompt = "none"
    config.data.batch_by = "archetype"
    config.data.questions = 4
    config.data.max_prompt_length = 256
    config.weights.tokenizer = tokenizer
    config.model.vocab_size = vocab_size
    config.model.num_layers = 2
    config.model.initializer_range = 0.08
    config.compute.remat = "none"
    config.sampling.max_tokens = 16
    config.grpo.group_size = 8
    config.grpo.kl_coef = 0.0
    config.optimizer.learning_rate = 5e-5
    config.optimizer.warmup_steps = 10
    config.optimizer.b2 = 0.98
    config.optimizer.average_decay = 0.98
    return aimed_at_shares(config)


def people_dict(corpus: str) -> ml_collections.ConfigDict:
    """A small Qwen3 from scratch on the shares of real people's answers, of a corpus folder."""
    config = scratch_dict("train:1024", vocab_size=1024)
    config.objective = "distribution"
    config.num_steps = 1500
    config.evaluate_every = config.save_every = 100
    config.early_stopping = 4
    config.corpus.path = f"{corpus}/train.parquet"
    config.corpus.heldout_path = f"{corpus}/dev.parquet"
    config.data.batch_size = 16
    config.data.questions = 16
    config.data.max_prompt_length = 512
    config.data.attribute_dropout = 0.1
    config.model.width = 64
    config.model.mlp_width = 192
    config.model.num_heads = 2
    config.model.num_kv_heads = 1
    config.optimizer.learning_rate = 3e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 20
    config.optimizer.decay_steps = config.num_steps
    config.evaluation.batch_size = 16
    return config


def run_config(mapping: Mapping[str, Any]) -> RunConfig:
    """The run a nested mapping (of a config file, flags or `config.json`) describes."""
    return from_mapping(RunConfig, mapping)


def to_json(record: Any) -> str:
    """The record as indented JSON, the same bytes for equal records."""
    return json.dumps(to_mapping(record), indent=2, ensure_ascii=False) + "\n"
