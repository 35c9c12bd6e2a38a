"""Shared parts of the drop-in heads: mixtures by name, their prototypes in this process, their plugin."""
