"""The demo: a small model from scratch on the synthetic survey, warm start then GRPO.

    python scripts/train.py --config=configs/demo.py --workdir=runs/demo

For any machine: minutes on two CPU cores. The aim is that GRPO passes the warm start and the
per-question majority on archetypes never trained on; WORKSPACE.md says what was measured.
"""

from dvmap_jax.config import RunConfig, config_dict


def get_config():
    """The run as a ConfigDict."""
    config = config_dict(RunConfig())
    config.num_steps = 60
    config.warm_start_steps = 120
    config.warm_start_batch_size = 16
    config.warm_start_learning_rate = 2e-3
    config.evaluate_every = 20
    config.save_every = 20
    config.sample_every = 20
    config.data.template = "answer"
    config.data.system_prompt = "none"
    config.data.batch_by = "archetype"
    config.data.batch_size = 16
    config.data.max_prompt_length = 256
    config.weights.tokenizer = "train:1024"
    config.model.vocab_size = 1024
    config.sampling.max_tokens = 16
    config.grpo.group_size = 8
    config.grpo.kl_coef = 0.0
    config.rewards.format_weight = 0.2
    config.rewards.match_weight = 1.0
    config.optimizer.learning_rate = 1e-4
    config.grpo.entropy_coef = 0.01
    config.evaluation.batch_size = 16
    config.checkpoints.best_metric = "eval/score/accuracy"
    return config
