"""The demo: a small model from scratch on the synthetic survey, warm start then GRPO.

    python scripts/train.py --config=configs/demo.py --workdir=runs/demo

For any machine: six minutes on two CPU cores. Measured on 1,920 answers of archetypes never
trained on: .45 by the per-question majority, .58 after the warm start, .64 after GRPO.
"""

from dvmap_jax.config import RunConfig, config_dict


def get_config():
    """The run as a ConfigDict."""
    config = config_dict(RunConfig())
    config.num_steps = 150
    config.warm_start_steps = 100
    config.warm_start_batch_size = 64
    config.warm_start_learning_rate = 3e-3
    config.evaluate_every = 50
    config.save_every = 50
    config.sample_every = 50
    config.data.template = "answer"
    config.data.system_prompt = "none"
    config.data.batch_by = "archetype"
    config.data.batch_size = 32
    config.data.questions = 4
    config.data.max_prompt_length = 256
    config.weights.tokenizer = "train:1024"
    config.model.vocab_size = 1024
    config.model.num_layers = 2
    config.model.initializer_range = 0.08
    config.compute.remat = "none"
    config.corpus.synthetic_archetypes = 2400
    config.corpus.heldout_fraction = 0.05
    config.sampling.max_tokens = 16
    config.grpo.group_size = 8
    config.grpo.kl_coef = 0.0
    config.rewards.format_weight = 0.2
    config.rewards.match_weight = 1.0
    config.optimizer.learning_rate = 3e-4
    config.optimizer.warmup_steps = 10
    config.optimizer.b2 = 0.98
    config.grpo.entropy_coef = 0.01
    config.evaluation.batch_size = 16
    config.checkpoints.best_metric = "eval/score/accuracy"
    return config
