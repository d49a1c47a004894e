"""GRPO on Llama 3.2 3B, with the original's faults repaired.

    python scripts/train.py --config=configs/llama3p2_3b.py --workdir=runs/llama3p2_3b

Needs the weights in weights/Llama-3.2-3B-Instruct and a corpus in corpora/.
Meant for a slice of 8 chips;
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
    config.weights.source = "weights/Llama-3.2-3B-Instruct"
    config.optimizer.micro_batch_size = 4
    return config
