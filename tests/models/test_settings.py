from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from models.settings import (
    ClassifierSettings,
    LanguageModelSettings,
    RecurrentSettings,
    Seq2SeqSettings,
    TaggerSettings,
)

NETWORKS = (ClassifierSettings, TaggerSettings, LanguageModelSettings, Seq2SeqSettings)


@pytest.mark.parametrize("settings", NETWORKS)
@pytest.mark.parametrize(
    ("name", "value", "default"), [("activation", "relu", "tanh"), ("recurrent_dropout", 0.2, 0.0)]
)
def test_settings_that_a_cell_lacks(
    settings: type[RecurrentSettings], name: str, value: object, default: object
) -> None:
    """A setting that the cell does not support is refused with its value and the expected one."""
    message = f"the cell 'mingru' does not support {name} = {value!r} \\(expected {default!r}\\)"
    with pytest.raises(ValidationError, match=message):
        settings(cell="mingru", **{name: value})
    settings(cell="mingru", **{name: default})
    settings(cell="gru", **{name: value})


def test_weight_dropout_without_recurrent_weights() -> None:
    """All unsupported settings are in one message."""
    message = r"recurrent_dropout = 0.1 \(expected 0.0\), weight_dropout = 0.2 \(expected 0.0\)"
    with pytest.raises(ValidationError, match=message):
        LanguageModelSettings(cell="mingru", weight_dropout=0.2, recurrent_dropout=0.1)


def test_unknown_cell() -> None:
    """An unknown cell is refused with the names of the cells and the most similar one."""
    with pytest.raises(ValidationError, match="one of simple, gru, lstm, mingru; did you mean 'lstm'"):
        ClassifierSettings(cell="lstmm")


def test_settings_need_no_tensorflow() -> None:
    """Importing and checking settings imports neither TensorFlow nor Keras."""
    code = (
        "import sys; from models.settings import ClassifierSettings as C; C(cell='mingru', pooling='max');"
        "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
