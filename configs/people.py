"""A small Qwen3 from scratch on real people: the shares of their answers to sixteen questions.

    python scripts/build_corpus.py --survey=WVS.csv --output=corpora/people
    python scripts/train.py --config=configs/people.py --workdir=runs/people

Needs the wave 7 file of the World Values Survey. For any machine with 8 GB and two CPU cores. All
258 questions (`build_corpus.py --questions=all --noprompts`) want 16 times as many steps for as
many passes (`--config.num_steps`, `--config.optimizer.decay_steps`), and gained nothing with fewer.
"""

from dvmap_jax.config import people_dict


def get_config():
    """The run as a ConfigDict."""
    return people_dict("corpora/people")
