"""The training run: state, update, checkpoints, log and loop."""
