"""Reads checkpoints without running anything in them: what tensors there are, and which are prototypes.

``python -m mixhead.checkpoint FILE --out ROWS.npy`` writes the prototypes of a checkpoint to a file. Every
part is imported from its own module, so that ``mixhead.checkpoint.names`` costs nothing.
"""
