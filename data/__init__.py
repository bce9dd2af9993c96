"""Datasets: sources, reading, preparing, vocabulary, encoding and batching. Knows nothing of models."""
