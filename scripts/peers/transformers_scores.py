"""Transformers' side of `bench.py --workload=score`: rows of tokens in, seconds and sums out.

    transformers_scores.py MODEL_DIR ROWS.npz RESULT.npz REPEATS

`batched` pads prompt and option to the longest of `size` rows of about one length, the fastest of
`SIZES`, and takes the logits of the option's tokens alone; `shared` runs what an archetype's
prompts begin with once. A causal model never sees padding on the right, so no mask is needed.
"""

import os
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch
from transformers import AutoModelForCausalLM, DynamicCache

SIZES = (8, 16, 32, 64)  # rows at a time
PIECE = 32  # states whose logits exist at a time: faster than more, which are memory made anew
THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def main():
    """Times both and writes what they found."""
    folder, rows_path, result_path, repeats = sys.argv[1:]
    torch.set_num_threads(THREADS)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    rows, starts, groups = read_rows(rows_path)
    with torch.inference_mode():
        tried = {size: timed(batched, model, rows, starts, size)[1] for size in SIZES}
        best = min(tried, key=tried.get)
        found = {"batched": [], "shared": []}
        timed(shared, model, rows, starts, groups)
        for _ in range(int(repeats)):
            sums, seconds = timed(batched, model, rows, starts, best)
            found["batched"].append(seconds)
            others, seconds = timed(shared, model, rows, starts, groups)
            found["shared"].append(seconds)
    how = {"size": best, "sizes": SIZES, "tried": list(tried.values()), "threads": THREADS}
    np.savez(result_path, batched_sums=sums, shared_sums=others, **found, **how)


def read_rows(path):
    """Tokens of prompt and option one after the other, where the option starts, archetypes."""
    stored = np.load(path)
    ends = np.cumsum(stored["lengths"])[:-1]
    rows = [torch.from_numpy(row).long() for row in np.split(stored["tokens"], ends)]
    return rows, stored["starts"].tolist(), stored["groups"]


def timed(function, *inputs):
    """The sums that a function gives, and its seconds."""
    started = time.perf_counter()
    return function(*inputs), time.perf_counter() - started


def batched(model, rows, starts, size):
    """Sums of the options' log-probabilities, `size` rows at a time."""
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    sums = np.zeros(len(rows))
    for first in range(0, len(order), size):
        part = order[first : first + size]
        sums[part] = part_sums(model, [rows[i] for i in part], [starts[i] for i in part])
    return sums


def shared(model, rows, starts, groups):
    """The same, with what the prompts of an archetype begin with run once."""
    sums = np.zeros(len(rows))
    for name in np.unique(groups):
        part = np.flatnonzero(groups == name)
        prompts = torch.nn.utils.rnn.pad_sequence([rows[i][: starts[i]] for i in part], True, -1)
        same = (prompts == prompts[0]).all(dim=0).cumprod(dim=0).sum()
        split = min(int(same), min(starts[i] for i in part) - 1)
        cache = DynamicCache(config=model.config)
        model.model(input_ids=prompts[:1, :split], past_key_values=cache)
        cache.batch_repeat_interleave(len(part))
        ends = [rows[i][split:] for i in part]
        sums[part] = part_sums(model, ends, [starts[i] - split for i in part], cache)
    return sums


def part_sums(model, rows, starts, cache=None):
    """One padded batch: hidden states of all tokens, logits of those that predict options."""
    ids = torch.nn.utils.rnn.pad_sequence([row[:-1] for row in rows], batch_first=True)
    how = {"use_cache": False} if cache is None else {"past_key_values": cache}
    hidden = model.model(input_ids=ids, **how).last_hidden_state
    spans = [torch.arange(n - 1, len(row) - 1) for row, n in zip(rows, starts, strict=True)]
    owner = torch.repeat_interleave(torch.tensor([len(span) for span in spans]))
    targets = torch.cat([row[n:] for row, n in zip(rows, starts, strict=True)])
    states = hidden[owner, torch.cat(spans)].split(PIECE)
    tables = (model.lm_head(piece).log_softmax(-1) for piece in states)
    parts = zip(tables, targets[:, None].split(PIECE), strict=True)
    chosen = torch.cat([table.gather(-1, own)[:, 0] for table, own in parts])
    return torch.zeros(len(rows)).index_add_(0, owner, chosen).numpy()


if __name__ == "__main__":
    main()
