"""Decoupled prototypes for self-supervised learning: a Gaussian mixture in place of a learned last layer."""
