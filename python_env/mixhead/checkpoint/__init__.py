"""Reads checkpoints without running code in them: lists their tensors and finds the prototypes.

``python -m mixhead.checkpoint FILE --out ROWS.npy`` writes the prototypes of a checkpoint to a file. Import
each part from its own module, so that ``mixhead.checkpoint.names`` stays cheap to import.
"""
