"""SmolLM2-135M-Instruct, from its GGUF file, learns the shares in which people answer.

    python scripts/train.py --config=configs/smollm2_135m.py --workdir=runs/smollm2_135m

Needs weights/SmolLM2-135M-Instruct.Q4_1.gguf and, with `--config.corpus.path`, a real corpus. For
any machine with 8 GB.
"""

from dvmap_jax.config import RunConfig, aimed_at_shares, config_dict


def get_config():
    """The run as a ConfigDict."""
    config = config_dict(RunConfig())
    config.objective = "distribution"
    config.num_steps = 100
    config.evaluate_every = config.save_every = 50
    config.weights.source = "weights/SmolLM2-135M-Instruct.Q4_1.gguf"
    config.data.template = "answer"
    config.data.batch_by = "archetype"
    config.data.questions = 8
    config.data.batch_size = 4
    config.data.max_prompt_length = 512
    config.optimizer.learning_rate = 1e-4
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 10
    config.optimizer.decay_steps = config.num_steps
    config.optimizer.average_decay = 0.9
    config.evaluation.max_examples = 256
    config.evaluation.questions = 8
    config.evaluation.batch_size = 4
    return aimed_at_shares(config)
