"""Training: the loop, its state, and the data that it reads."""
