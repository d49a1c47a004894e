"""Tokenizer and the stream of prompt batches."""
