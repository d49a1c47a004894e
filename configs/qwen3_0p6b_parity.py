"""The original's recipe for Qwen3-0.6B, faults included: see the README for how it differs.

    python scripts/train.py --config=configs/qwen3_0p6b_parity.py --workdir=runs/qwen3_0p6b_parity

Needs the weights in weights/Qwen3-0.6B and the released corpus in corpora/.
Laid out for v5e:2x2 (4 chips) or more; on one device
add --config.mesh.tensor=1. Cost and result are not measured yet.
"""

from dvmap_jax.config import parity_dict


def get_config():
    """The run as a ConfigDict."""
    return parity_dict("weights/Qwen3-0.6B", "qwen3_0p6b", decoded=8)
