"""Decoding in the graph: one call samples or searches whole texts, not one token.

Nothing here knows a model. A model is given by a function of one step, see `models.decoding.emit.Step`. Rows
never depend on each other: neither the size of a batch nor the order of its rows changes a text.
"""
