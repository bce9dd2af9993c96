"""Recurrent kernels for each kind of host."""
