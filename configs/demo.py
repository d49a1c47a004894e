"""The demo: a small model from scratch on a synthetic survey's corpus, warm start then GRPO.

    make corpora/demo/corpus.json
    python scripts/train.py --config=configs/demo.py --workdir=runs/demo

For any machine: minutes on two CPU cores. Measured on 1,841 answers of archetypes never trained
on: .48 by the per-question majority, .54 after the warm start, .61 after GRPO.
"""

from dvmap_jax.config import scratch_dict


def get_config():
    """The run as a ConfigDict."""
    config = scratch_dict("train:1024", vocab_size=1024)
    config.num_steps = 150
    config.warm_start_steps = 100
    config.warm_start_batch_size = 64
    config.evaluate_every = 50
    config.save_every = 50
    config.sample_every = 50
    config.data.batch_size = 32
    config.corpus.path = "corpora/demo/train.parquet"
    config.corpus.heldout_path = "corpora/demo/dev.parquet"
    config.evaluation.batch_size = 16
    return config
