"""Qwen3-1.7B learns the shares in which people answer.

    python scripts/train.py --config=configs/qwen3_1p7b.py --workdir=runs/qwen3_1p7b

Needs the weights in weights/Qwen3-1.7B and a corpus in corpora/.
Laid out for v5e:2x4 (8 chips), of whose memory GRPO
needs 44 % as compiled (docs/pods.md); on one device add --config.mesh.tensor=1.
Cost and result are not measured yet.
"""

from dvmap_jax.config import distribution_dict


def get_config():
    """The run as a ConfigDict."""
    return distribution_dict("weights/Qwen3-1.7B", "qwen3_1p7b", decoded=16)
