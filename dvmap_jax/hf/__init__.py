"""Hugging Face and GGUF files in and out."""
