"""From logits to the next token: greedy, or a draw from the tempered distribution."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

CACHE_DTYPES = ("same", "int8")
BLOCK = 512  # vocabulary entries summed together before the draw looks inside one block


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How completions are drawn; temperature 0 is greedy, top_k 0 and top_p 1 are off.

    `batch_size` roots (prompts or archetypes) are drawn from at a time, and `branches` completions
    of a prompt; what has ended makes room for what waits. All of them where it is 0. Smaller means
    less memory for keys and values and, where lengths differ, fewer rows that idle; completions
    are the same. `cache_dtype="int8"` stores keys and values in a byte each; "same" as they are.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    max_tokens: int = 128
    batch_size: int = 0
    branches: int = 0
    cache_dtype: str = "same"

    def __post_init__(self):
        if self.temperature < 0:
            raise ValueError(f"sampling.temperature is {self.temperature}; it cannot be negative")
        if self.top_k < 0:
            raise ValueError(f"sampling.top_k is {self.top_k}; it is 0 (off) or positive")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"sampling.top_p is {self.top_p}; it must be in (0, 1]")
        if self.max_tokens < 1 or min(self.batch_size, self.branches) < 0:
            raise ValueError(
                f"sampling.max_tokens is {self.max_tokens}, batch_size {self.batch_size} and "
                f"branches {self.branches}; they must be at least 1, 0 and 0"
            )
        if self.cache_dtype not in CACHE_DTYPES:
            raise ValueError(
                f"sampling.cache_dtype is {self.cache_dtype!r}; it must be one of {CACHE_DTYPES}"
            )


def row_keys(seed_key: Array, rows: Int[Array, "*B"]) -> Array:
    """One key a row, from its global number alone: draws do not depend on how rows are packed."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(seed_key, rows.reshape(-1))


def sample(
    logits: Float[Array, "B V"], keys: Array, index: Int[Array, " B"], config: SamplingConfig
) -> tuple[Int[Array, " B"], Float[Array, " B"]]:
    """The next token of each row and its log-probability under softmax(logits / temperature).

    `index` is the token's place in the row's completion; with the row's key it decides the draw.
    The log-probability is that of the whole distribution also where top-k or top-p narrow the
    draw, since that is what the trainer computes.
    """
    if config.temperature == 0:
        tokens = jnp.argmax(logits, axis=-1)
        return tokens, _at(logits, tokens) - jax.nn.logsumexp(logits, axis=-1)
    scaled = logits / config.temperature
    uniforms = jax.vmap(lambda key, at: jax.random.uniform(jax.random.fold_in(key, at)))
    tokens, log_total = _draw(_narrow(scaled, config), uniforms(keys, index))
    if config.top_k or config.top_p < 1:
        log_total = jax.nn.logsumexp(scaled, axis=-1)
    return tokens, _at(scaled, tokens) - log_total


def inverse_cdf(logits: Float[Array, "B V"], uniforms: Float[Array, " B"]) -> Int[Array, " B"]:
    """The token at quantile `uniforms` in [0, 1) of each row's distribution.

    One uniform a row and one pass over the vocabulary instead of a random number an entry:
    blocks are summed, the draw picks a block and then an entry inside it. Entries of zero
    probability are never picked.
    """
    return _draw(logits, uniforms)[0]


def _draw(logits, uniforms) -> tuple[Int[Array, " B"], Float[Array, " B"]]:
    """`inverse_cdf`, and the logarithm of each row's sum of exponentials."""
    rows, vocab = logits.shape
    peak = logits.max(axis=-1, keepdims=True)
    weights = jnp.exp(logits - peak)
    weights = jnp.pad(weights, ((0, 0), (0, -vocab % BLOCK))).reshape(rows, -1, BLOCK)
    sums = weights.sum(axis=-1)
    total = sums.sum(axis=-1)
    block, rest = _pick(sums, uniforms * total)
    inside = jnp.take_along_axis(weights, block[:, None, None], axis=1)[:, 0]
    return block * BLOCK + _pick(inside, rest)[0], jnp.log(total) + peak[:, 0]


def _pick(weights: Float[Array, "B S"], targets: Float[Array, " B"]) -> tuple[Array, Array]:
    """First entry whose running sum exceeds the target, and what of the target remains in it."""
    sums = jnp.cumsum(weights, axis=-1)
    below = jnp.nextafter(sums[:, -1], jnp.zeros_like(targets))  # rounding must not pass the end
    targets = jnp.minimum(targets, below)[:, None]
    entry = (sums <= targets).sum(axis=-1)
    before = jnp.take_along_axis(sums - weights, entry[:, None], axis=-1)
    return entry, (targets - before)[:, 0]


def _narrow(logits: Float[Array, "B V"], config: SamplingConfig) -> Float[Array, "B V"]:
    """Entries outside top-k and top-p become impossible; without either nothing is sorted."""
    if config.top_k:
        smallest = jax.lax.top_k(logits, min(config.top_k, logits.shape[-1]))[0][:, -1:]
        logits = jnp.where(logits < smallest, -jnp.inf, logits)
    if config.top_p < 1:
        ordered = jnp.sort(logits, axis=-1, descending=True)
        shares = jax.nn.softmax(ordered, axis=-1)
        kept = jnp.cumsum(shares, axis=-1) - shares < config.top_p  # the first is always kept
        smallest = jnp.where(kept, ordered, jnp.inf).min(axis=-1, keepdims=True)
        logits = jnp.where(logits < smallest, -jnp.inf, logits)
    return logits


def _at(logits: Float[Array, "B V"], tokens: Int[Array, " B"]) -> Float[Array, " B"]:
    return jnp.take_along_axis(logits, tokens[:, None], axis=-1)[:, 0]
