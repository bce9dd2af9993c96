"""Keras models and layers on token ids and tensors. Knows nothing of files or datasets."""
