"""Rewards, rollouts and the GRPO loss."""
