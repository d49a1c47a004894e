"""One transformer for Qwen3 and Llama that computes on trees of tokens."""
