"""Llama 3.2 3B learns the shares in which people answer.

    python scripts/train.py --config=configs/llama3p2_3b.py --workdir=runs/llama3p2_3b

Needs the weights in weights/Llama-3.2-3B-Instruct and a corpus in corpora/.
Laid out for v5e:2x4 (8 chips), of whose memory GRPO
needs 72 % as compiled (docs/pods.md); on one device add --config.mesh.tensor=1.
Cost and result are not measured yet.
"""

from dvmap_jax.config import distribution_dict


def get_config():
    """The run as a ConfigDict."""
    return distribution_dict("weights/Llama-3.2-3B-Instruct", "llama3p2_3b", decoded=16)
