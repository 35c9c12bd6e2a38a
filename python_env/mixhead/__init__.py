"""Decoupled prototypes for self-supervised learning: a Gaussian mixture in place of the last layer of a DINO head."""
