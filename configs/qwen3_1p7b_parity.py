"""The original's recipe for Qwen3-1.7B, faults included: see the README for how it differs.

    python scripts/train.py --config=configs/qwen3_1p7b_parity.py --workdir=runs/qwen3_1p7b_parity

Needs the weights in weights/Qwen3-1.7B and the released corpus in corpora/.
Laid out for v5e:2x4 (8 chips) or more; on one device
add --config.mesh.tensor=1. Cost and result are not measured yet.
"""

from dvmap_jax.config import parity_dict


def get_config():
    """The run as a ConfigDict."""
    return parity_dict("weights/Qwen3-1.7B", "qwen3_1p7b", decoded=16)
