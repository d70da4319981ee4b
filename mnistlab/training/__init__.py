"""The training loop and what decides a run."""
