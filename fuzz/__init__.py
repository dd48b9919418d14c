"""Fuzz everything that reads a stranger's bytes: `python -m fuzz --runs N`."""
