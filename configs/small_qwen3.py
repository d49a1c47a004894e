"""A small Qwen3 from scratch on the released corpus: warm start, then GRPO, short answers.

    python scripts/train.py --config=configs/small_qwen3.py --workdir=runs/small_qwen3

Needs corpora/dev.parquet of the released corpus and the folder of Qwen3's tokenizer in
tokenizers/qwen3. A fifth of the archetypes is held out by `corpus.split_seed`. For any machine
with 8 GB; three quarters of an hour on one CPU core, most of it the vocabulary. Knows no language
beforehand. Measured on 1,398 held-out answers: .52 after the warm start and .51 after GRPO, the
majority by question .50, by country and question .53.
"""

from dvmap_jax.config import RunConfig, config_dict


def get_config():
    """The run as a ConfigDict."""
    config = config_dict(RunConfig())
    config.num_steps = 60
    config.warm_start_steps = 240
    config.warm_start_batch_size = 32
    config.warm_start_learning_rate = 3e-3
    config.evaluate_every = 20
    config.save_every = 20
    config.sample_every = 20
    config.corpus.path = "corpora/dev.parquet"
    config.corpus.heldout_fraction = 0.2
    config.corpus.split_seed = 0
    config.data.template = "answer"
    config.data.system_prompt = "none"
    config.data.batch_by = "archetype"
    config.data.batch_size = 16
    config.data.questions = 4
    config.data.max_prompt_length = 256
    config.weights.tokenizer = "tokenizers/qwen3"
    config.model.vocab_size = 151_936
    config.model.num_layers = 2
    config.model.initializer_range = 0.08
    config.compute.remat = "none"
    config.compute.logprob_chunk = 256
    config.sampling.max_tokens = 16
    config.grpo.group_size = 8
    config.grpo.kl_coef = 0.0
    config.grpo.entropy_coef = 0.01
    config.rewards.format_weight = 0.2
    config.rewards.match_weight = 1.0
    config.optimizer.learning_rate = 3e-4
    config.optimizer.warmup_steps = 10
    config.optimizer.b2 = 0.98
    config.evaluation.batch_size = 8
    config.checkpoints.best_metric = "eval/score/accuracy"
    return config
