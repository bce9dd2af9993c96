"""Training: the loop, its state, its records on disk, and the encoded data."""
