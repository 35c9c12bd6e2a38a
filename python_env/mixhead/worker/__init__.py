"""The worker: one Python process per rank that trains the encoder and asks the plugin for targets."""
