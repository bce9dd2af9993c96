"""Text to tokens and token ids, and back, in the graph."""
