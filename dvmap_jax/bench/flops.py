"""Model operations and least memory traffic of rollouts, updates and scoring, from lengths.

What the mathematics asks for, whatever a program does beyond it: causal pairs alone, prompts once
for all of their completions, no second forward pass of rematerialisation. A product of [m, k]
with [k, n] is 2 m k n operations. `train/costs.py` counts what the programs do.
"""

import numpy as np

from dvmap_jax.model.config import ModelConfig
from dvmap_jax.train.costs import matrix_params

Lengths = int | np.ndarray


def span_flops(model: ModelConfig, start: Lengths, new: Lengths) -> float:
    """Forward operations, the head's left out, of `new` tokens that come after `start` others."""
    start, new = np.broadcast_arrays(np.asarray(start, float), np.asarray(new, float))
    pairs = (new * start + new * (new + 1) / 2).sum()
    attention = 4 * model.num_heads * model.head_dim * pairs
    return float(model.num_layers * (2 * matrix_params(model) * new.sum() + attention))


def head_flops(model: ModelConfig, positions: float) -> float:
    """Operations of the logits of so many positions."""
    return 2.0 * model.width * model.vocab_size * float(positions)


def forward_flops(model: ModelConfig, prompts: np.ndarray, completions: np.ndarray) -> float:
    """Log-probabilities of completions [P, G] of prompts [P], each prompt computed once."""
    spans = span_flops(model, 0, prompts) + span_flops(model, prompts[:, None], completions)
    return spans + head_flops(model, completions.sum())


def update_flops(
    model: ModelConfig, prompts: np.ndarray, completions: np.ndarray, *, reference: bool
) -> float:
    """Forward, twice that backward, and the reference's forward pass."""
    return (3 + reference) * forward_flops(model, prompts, completions)


def rollout_flops(model: ModelConfig, prompts: np.ndarray, completions: np.ndarray) -> float:
    """Prefill of every prompt once, then each completion's tokens but the first."""
    later = np.maximum(completions - 1, 0)
    spans = span_flops(model, 0, prompts) + span_flops(model, prompts[:, None], later)
    return spans + head_flops(model, len(prompts) + later.sum())


def rollout_bytes(
    model: ModelConfig, prompts: np.ndarray, completions: np.ndarray, itemsize: int = 4
) -> float:
    """Least bytes read while decoding: at each step the weights and all keys and values so far.

    A prompt's are read once for its completions. All completions are drawn at the same time.
    """
    later = np.maximum(completions - 1, 0)
    steps = later.max()
    weights = model.num_layers * matrix_params(model) + model.vocab_size * model.width
    kept = 2 * model.num_layers * model.num_kv_heads * model.head_dim
    own = (later * (later + 1) / 2).sum()
    return float(itemsize * (steps * (weights + kept * prompts.sum()) + kept * own))


def score_flops(model: ModelConfig, sequences: int, length: int) -> float:
    """Log-probabilities of every token of sequences of one length."""
    one = span_flops(model, 0, length) + head_flops(model, length)
    return sequences * one


def option_flops(model: ModelConfig, options: np.ndarray, *, shared: int, tail: int) -> float:
    """Options of lengths [groups, prompts, options], a group's first `shared` tokens once."""
    groups, prompts, _ = options.shape
    later = np.maximum(options - 1, 0)  # the first token comes from the prompt's last state
    flops = groups * span_flops(model, 0, shared)
    flops += groups * prompts * (span_flops(model, shared, tail) + head_flops(model, 1))
    return flops + span_flops(model, shared + tail, later) + head_flops(model, later.sum())
