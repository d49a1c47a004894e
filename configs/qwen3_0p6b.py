"""Qwen3-0.6B learns the shares in which people answer.

    python scripts/train.py --config=configs/qwen3_0p6b.py --workdir=runs/qwen3_0p6b

Needs the weights in weights/Qwen3-0.6B and a corpus in corpora/.
Laid out for v5e:2x2 (4 chips), of whose memory GRPO
needs 38 % as compiled (docs/pods.md); on one device add --config.mesh.tensor=1.
Cost and result are not measured yet.
"""

from dvmap_jax.config import distribution_dict


def get_config():
    """The run as a ConfigDict."""
    return distribution_dict("weights/Qwen3-0.6B", "qwen3_0p6b", decoded=8)
