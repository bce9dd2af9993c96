"""Commands import only what they need: most of the time of a short one goes into imports."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

Process = Callable[..., subprocess.CompletedProcess[str]]

STORED = Path(__file__).parent / "artifacts" / "stored"
PROGRAM = """
import json, sys
from app.cli import main
for command in json.loads(sys.argv[1]):
    try:
        main(command)
    except SystemExit as error:
        assert not error.code
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
KERAS = {"keras", "h5py", "scipy", "sklearn", "matplotlib", "pandas", "PIL"}
TASKS = {
    "tensorflow_datasets",
    "tensorflow_serving",
    "grpc",
    "starlette",
    "sacrebleu",
    "sentencepiece",
    "pyarrow",
}
SLOW = {"tensorflow", "numpy", "pydantic", "rich"} | KERAS | TASKS


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an export of each of two tasks, by the name of the task."""
    folder = tmp_path_factory.mktemp("exports")
    for task in ("classification", "generation"):
        with tarfile.open(STORED / f"{task}-1.tar.xz") as archive:
            archive.extractall(folder / task, filter="data")
    return folder


INSPECT = ["inspect", "classification/export", "A fine text."]
PREDICT, GENERATE = ["predict", "classification/export"], ["generate", "generation/export", "--length", "2"]


@pytest.mark.parametrize(
    ("commands", "needed", "unused"),
    [
        pytest.param([["--help"]], {"click"}, SLOW, id="help"),
        pytest.param(
            [["train", "tagging", "sample:tags", "--print-config"]],
            {"pydantic"},
            {"tensorflow", "rich"} | KERAS | TASKS,
            id="configuration",
        ),
        pytest.param([PREDICT, GENERATE], {"tensorflow"}, {"rich"} | KERAS | TASKS, id="exports"),
        pytest.param([INSPECT], {"tensorflow", "rich"}, KERAS | TASKS, id="inspection of an export"),
    ],
)
def test_commands_import_what_they_need(
    process: Process, exports: Path, commands: list[list[str]], needed: set[str], unused: set[str]
) -> None:
    """A command does not import a package that is of no use to it, also where TensorFlow would."""
    done = process("-c", PROGRAM, json.dumps(commands), cwd=exports, stdin="A fine text.\n")

    assert not done.returncode, done.stderr
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert needed <= imported
    assert not unused & imported


FROM_A_RUN = """
import sys
from app.cli import main
try:
    main(["predict", "classification/run"])
except SystemExit as error:
    assert not error.code
assert "keras" in sys.modules
assert not {"sklearn", "scipy", "matplotlib"} & set(sys.modules)
import keras, matplotlib.pyplot, scipy.sparse, sklearn.base, tensorflow as tf
from tensorflow.keras import Sequential
assert Sequential is keras.Sequential is tf.keras.Sequential
assert tf.keras.optimizers.Adam().get_config()["name"] == "adam"
print("done")
"""


def test_hidden_packages_can_be_imported_later(process: Process, exports: Path) -> None:
    """What TensorFlow and Keras did not import works as usual where a command imports it itself."""
    done = process("-c", FROM_A_RUN, cwd=exports, stdin="A fine text.\n")

    assert done.stdout.endswith("done\n"), done.stderr
