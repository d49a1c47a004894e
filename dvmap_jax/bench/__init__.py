"""The benchmark: what rollouts, updates, scoring and the data pipeline cost on this machine."""
