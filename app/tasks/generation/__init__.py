"""Language models."""

ENDS, GOES_ON = b"documents", b"one text"
"""Whether an end follows each document, or the training text is one."""
