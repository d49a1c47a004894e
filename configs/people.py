"""A small Qwen3 from scratch on real people: the shares of their answers to all questions.

    python scripts/build_corpus.py --survey=WVS.csv --questions=all --output=corpora/people
    python scripts/train.py --config=configs/people.py --workdir=runs/people

Needs the wave 7 file of the World Values Survey. For any machine with 8 GB and two CPU cores.
"""

from dvmap_jax.config import people_dict


def get_config():
    """The run as a ConfigDict."""
    return people_dict("corpora/people")
