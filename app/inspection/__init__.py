"""Looking into a trained network: memory, gradients, matrices, gates, influence of tokens."""
