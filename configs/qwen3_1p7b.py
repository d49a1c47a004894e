"""GRPO on Qwen3-1.7B, with the original's faults repaired.

    python scripts/train.py --config=configs/qwen3_1p7b.py --workdir=runs/qwen3_1p7b

Needs the weights in weights/Qwen3-1.7B and a corpus in corpora/.
Meant for one GPU of 80 GB or a v5e slice;
cost and result are not measured yet.
"""

from dvmap_jax.config import paper_dict


def get_config():
    """The run as a ConfigDict."""
    return paper_dict("weights/Qwen3-1.7B", micro_batch_size=8)
