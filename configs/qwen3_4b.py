"""GRPO on Qwen3-4B, with the original's faults repaired.

    python scripts/train.py --config=configs/qwen3_4b.py --workdir=runs/qwen3_4b

Needs the weights in weights/Qwen3-4B and a corpus in corpora/.
Meant for a slice of 16 chips;
cost and result are not measured yet.
"""

from dvmap_jax.config import RunConfig, config_dict


def get_config():
    """The run as a ConfigDict."""
    config = config_dict(RunConfig())
    config.num_steps = 500
    config.evaluate_every = 25
    config.save_every = 25
    config.sample_every = 25
    config.corpus.path = "corpora/train.parquet"
    config.corpus.heldout_path = "corpora/dev.parquet"
    config.data.batch_size = 64
    config.sampling.max_tokens = 1024
    config.compute.dtype = "bfloat16"
    config.compute.logprob_chunk = 512
    config.evaluation.max_examples = 1024
    config.checkpoints.best_metric = "eval/score/accuracy"
    config.weights.source = "weights/Qwen3-4B"
    config.optimizer.micro_batch_size = 4
    return config
