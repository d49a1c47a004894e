"""The original's recipe for Qwen3-8B, faults included: see the README for how it differs.

    python scripts/train.py --config=configs/qwen3_8b_parity.py --workdir=runs/qwen3_8b_parity

Needs the weights in weights/Qwen3-8B and the released corpus in corpora/.
Laid out for v5e:4x4 (16 chips) or more; on one device
add --config.mesh.tensor=1. Cost and result are not measured yet.
"""

from dvmap_jax.config import parity_dict


def get_config():
    """The run as a ConfigDict."""
    config = parity_dict("weights/Qwen3-8B", "qwen3_8b", decoded=32)
    config.data.batch_size = 128
    config.grpo.kl_coef = 0.0
    config.grpo.updates_per_rollout = 2
    return config
