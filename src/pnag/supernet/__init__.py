"""Supernet training: from a start, phase by phase, to weights; and fine-tuning of answers."""
