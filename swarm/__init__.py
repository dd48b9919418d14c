"""swarmd: a peer-to-peer node daemon for collective reinforcement learning of language models."""

__version__ = "0.2.0"
