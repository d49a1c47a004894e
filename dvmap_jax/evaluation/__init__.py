"""Evaluation: modes, baselines and metrics."""
