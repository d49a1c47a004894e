"""The demo: a small model from scratch on a synthetic survey, people's shares first, then GRPO.

    make corpora/demo/corpus.json
    python scripts/train.py --config=configs/demo.py --workdir=runs/demo

For any machine: minutes on two CPU cores.
"""

from dvmap_jax.config import scratch_dict


def get_config():
    """The run as a ConfigDict."""
    config = scratch_dict("train:1024", vocab_size=1024)
    config.num_steps = 30
    config.warm_start_steps = 300
    config.evaluate_every = 15
    config.save_every = 15
    config.sample_every = 10
    config.data.batch_size = 32
    config.corpus.path = "corpora/demo/train.parquet"
    config.corpus.heldout_path = "corpora/demo/dev.parquet"
    config.evaluation.batch_size = 16
    return config
