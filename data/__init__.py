"""Datasets: sources, file formats, preparation, vocabularies, encoding, batching; independent of models."""
