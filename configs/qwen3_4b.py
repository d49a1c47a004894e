"""GRPO on Qwen3-4B, with the original's faults repaired.

    python scripts/train.py --config=configs/qwen3_4b.py --workdir=runs/qwen3_4b

Needs the weights in weights/Qwen3-4B and a corpus in corpora/.
Meant for a slice of 16 chips;
cost and result are not measured yet.
"""

from dvmap_jax.config import paper_dict


def get_config():
    """The run as a ConfigDict."""
    return paper_dict("weights/Qwen3-4B", micro_batch_size=4)
