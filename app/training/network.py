"""The network of a training, before its first step."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.artifacts.preprocessing import Preprocessing
from app.config import TaskConfig
from app.config.sections import LEARN
from data.embeddings import read_vectors
from data.errors import UserError

if TYPE_CHECKING:
    import keras

    from app.tasks.base import Task


def new_model(
    task: Task[Any, Any],
    config: TaskConfig,
    preprocessing: Preprocessing[Any],
    token_counts: np.ndarray,
    learned: Callable[[], np.ndarray] | None = None,
) -> keras.Model:
    """Return a model with random weights from the seed, and word vectors if configured.

    The global generators of Python and NumPy are seeded while the model is built, and restored afterwards.
    Those of Keras and TensorFlow stay seeded.

    Args:
        task: of the model.
        config: resolved.
        preprocessing: of the run.
        token_counts: int64 [vocabulary], occurrences in the training examples.
        learned: returns the vectors of `model.embeddings = "learn"`, float32 [vocabulary, embedding_size]; 0
            keeps the random value.
    """
    model = random_model(task, config, preprocessing, token_counts)
    if config.model.embeddings == LEARN:
        assert learned is not None
        embedding, start = task.training.embedding(model), learned()
        embedding.embeddings.assign(np.where(start, start, embedding.embeddings.numpy()))
    elif config.model.embeddings:
        path = Path(config.model.embeddings).expanduser()
        vectors = read_vectors(path, list(preprocessing.vocabulary), size=config.model.embedding_size)
        if not vectors:
            raise UserError(f"{path}: none of its words is in the vocabulary of the training text")
        embedding = task.training.embedding(model)
        table = embedding.embeddings.numpy()
        for index, vector in vectors.items():
            table[index] = vector
        embedding.embeddings.assign(table)
    return model


def random_model(
    task: Task[Any, Any], config: TaskConfig, preprocessing: Preprocessing[Any], token_counts: np.ndarray
) -> keras.Model:
    """Return a model with random weights alone; arguments are those of `new_model`."""
    import keras

    keras.utils.clear_session(free_memory=False)  # names of variables count from 1, as in a new process
    before = keras.config.dtype_policy(), random.getstate(), np.random.get_state()
    try:
        keras.utils.set_random_seed(config.seed)
        keras.config.set_dtype_policy("mixed_bfloat16" if config.training.mixed_precision else "float32")
        model = task.training.build_model(config, preprocessing, token_counts)
    except ValueError as error:  # settings that a cell or a layer does not support together
        raise UserError(f"[model]: {error}") from None
    finally:
        policy, state, numpy_state = before
        keras.config.set_dtype_policy(policy)
        random.setstate(state)
        np.random.set_state(numpy_state)
    return model
