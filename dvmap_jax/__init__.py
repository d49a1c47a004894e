"""Pluralistic value alignment in JAX: survey answers to a model that answers as people would."""
