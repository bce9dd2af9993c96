"""Predictions from a run or an export."""
