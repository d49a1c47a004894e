"""GRPO on Llama 3.2 3B, with the original's faults repaired.

    python scripts/train.py --config=configs/llama3p2_3b.py --workdir=runs/llama3p2_3b

Needs the weights in weights/Llama-3.2-3B-Instruct and a corpus in corpora/.
Meant for a slice of 8 chips;
cost and result are not measured yet.
"""

from dvmap_jax.config import paper_dict


def get_config():
    """The run as a ConfigDict."""
    return paper_dict("weights/Llama-3.2-3B-Instruct", micro_batch_size=4)
