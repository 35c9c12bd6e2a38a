"""Measures of a training that runs, beside its loop."""
