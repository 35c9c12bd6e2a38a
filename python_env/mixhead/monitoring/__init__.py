"""Measures a running training from outside its loop."""
