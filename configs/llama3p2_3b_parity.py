"""The original's recipe for Llama 3.2 3B, faults included: see the README for how it differs.

    python scripts/train.py --config=configs/llama3p2_3b_parity.py --workdir=runs/llama3p2_3b_parity

Needs the weights in weights/Llama-3.2-3B-Instruct and the released corpus in corpora/.
Laid out for v5e:2x4 (8 chips) or more; on one device
add --config.mesh.tensor=1. Cost and result are not measured yet.
"""

from dvmap_jax.config import parity_dict


def get_config():
    """The run as a ConfigDict."""
    return parity_dict("weights/Llama-3.2-3B-Instruct", "llama3p2_3b", decoded=16)
