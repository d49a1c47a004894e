"""A small Qwen3 from scratch on the released corpus: people's shares, then GRPO, short answers.

    python scripts/train.py --config=configs/small_qwen3.py --workdir=runs/small_qwen3

Needs corpora/dev.parquet of the released corpus and the folder of Qwen3's tokenizer in
tokenizers/qwen3. A fifth of the archetypes is held out by `corpus.split_seed`. For any machine
with 8 GB; most of an hour on one CPU core, most of it the vocabulary. Knows no language
beforehand. Cost and result of this recipe are not measured yet.
"""

from dvmap_jax.config import scratch_dict


def get_config():
    """The run as a ConfigDict."""
    config = scratch_dict("tokenizers/qwen3", vocab_size=151_936)
    config.num_steps = 60
    config.warm_start_steps = 240
    config.warm_start_batch_size = 4
    config.evaluate_every = 20
    config.save_every = 20
    config.sample_every = 20
    config.corpus.path = "corpora/dev.parquet"
    config.corpus.heldout_fraction = 0.2
    config.corpus.split_seed = 0
    config.data.batch_size = 16
    config.compute.logprob_chunk = 256
    config.evaluation.batch_size = 8
    return config
