"""Qwen3-4B learns the shares in which people answer.

    python scripts/train.py --config=configs/qwen3_4b.py --workdir=runs/qwen3_4b

Needs the weights in weights/Qwen3-4B and a corpus in corpora/.
Laid out for v5e:4x4 (16 chips), of whose memory GRPO
needs 45 % as compiled (docs/pods.md); on one device add --config.mesh.tensor=1.
Cost and result are not measured yet.
"""

from dvmap_jax.config import distribution_dict


def get_config():
    """The run as a ConfigDict."""
    return distribution_dict("weights/Qwen3-4B", "qwen3_4b", decoded=32)
