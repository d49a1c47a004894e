"""The original's recipe for Qwen3-4B, faults included: see the README for how it differs.

    python scripts/train.py --config=configs/qwen3_4b_parity.py --workdir=runs/qwen3_4b_parity

Needs the weights in weights/Qwen3-4B and the released corpus in corpora/.
Laid out for v5e:4x4 (16 chips) or more; on one device
add --config.mesh.tensor=1. Cost and result are not measured yet.
"""

from dvmap_jax.config import parity_dict


def get_config():
    """The run as a ConfigDict."""
    return parity_dict("weights/Qwen3-4B", "qwen3_4b", decoded=32)
