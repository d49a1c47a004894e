"""GRPO on Qwen3-0.6B, with the original's faults repaired.

    python scripts/train.py --config=configs/qwen3_0p6b.py --workdir=runs/qwen3_0p6b

Needs the weights in weights/Qwen3-0.6B and a corpus in corpora/.
Meant for one GPU of 80 GB or a v5e slice;
cost and result are not measured yet.
"""

from dvmap_jax.config import paper_dict


def get_config():
    """The run as a ConfigDict."""
    return paper_dict("weights/Qwen3-0.6B", micro_batch_size=16)
