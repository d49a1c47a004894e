"""From survey answers to examples, prompts and the reading of answers."""
