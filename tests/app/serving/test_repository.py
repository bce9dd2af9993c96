from __future__ import annotations

import gc
import io
import json
import re
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from toy_exports import FOREVER, ROWS, seal, write_version

from app.artifacts.warmup import write_warmup
from app.prediction.loading import load_predictor
from app.serving.errors import Code, Refused
from app.serving.logs import Log
from app.serving.metrics import Metrics
from app.serving.options import Batching, Limits
from app.serving.repository import Repository, State
from app.serving.servable import versions_of

Make = Callable[..., Repository]


class Events(io.StringIO):
    """A log in memory."""

    def of(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.getvalue().splitlines()]
        return [line for line in lines if line["event"] == name]


@pytest.fixture
def events() -> Events:
    """Return what the repository logs."""
    return Events()


@pytest.fixture
def repository(events: Events) -> Iterator[Make]:
    """Return a function that makes a repository and looks once."""
    made: list[Repository] = []

    def make(*models: Path, **options: Any) -> Repository:
        named = {path.name: path for path in models}
        made.append(Repository(named, metrics=Metrics(), log=Log(events), **options))
        made[-1].poll()
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model with the version 1; tests read it, and change copies of it only."""
    path = tmp_path_factory.mktemp("models") / "toy"
    write_version(path, 1)
    return path


@pytest.fixture
def model(first: Path, tmp_path: Path) -> Path:
    """Return a model with the version 1."""
    return Path(shutil.copytree(first, tmp_path / "toy"))


def texts(*values: bytes) -> np.ndarray:
    return np.array(values, object)


def slow_inputs(*rows: bytes, length: int, stop: tuple[bytes, ...] = (b"!",)) -> dict[str, np.ndarray]:
    return {
        "text": texts(*rows),
        "length": np.full(len(rows), length, np.int32),
        "stop": texts(*stop),
    }


def answered(repository: Repository, **choice: Any) -> int:
    """Return the version that answers."""
    with repository.acquire("toy", **choice) as servable:
        found = servable.signatures["serving_default"]({"text": texts(b"a")})
    return int(found["version"][0])


def refused(action: Callable[[], Any]) -> tuple[Code, str]:
    with pytest.raises(Refused) as error:
        action()
    return error.value.code, error.value.message


def states(repository: Repository) -> dict[int, State]:
    return {status.version: status.state for status in repository.status("toy")}


# Answers


def test_answers_are_those_of_the_export(repository: Make, exported: Path) -> None:
    """A served model answers as the export does, whoever else asks."""
    rows = [b"good", b"", b"The plot is dull. " * 200, b"not \xff UTF-8", b"charming"] * 8
    expected = load_predictor(exported).run_texts("serving_default", rows)
    model = exported.parent
    with repository(model).acquire(model.name) as servable:
        assert (servable.name, servable.version, servable.task) == ("reviews", 1, "classification")
        signature = servable.signatures["serving_default"]
        one_by_one = [signature({"text": texts(row)}) for row in rows[:5]]
        together = signature({"text": texts(*rows)})

    assert together["label"].tolist() == expected["label"].tolist()
    np.testing.assert_allclose(together["probabilities"], expected["probabilities"], atol=1e-5)
    for i, answer in enumerate(one_by_one):
        np.testing.assert_allclose(answer["probabilities"][0], expected["probabilities"][i], atol=1e-5)


def test_signatures(repository: Make, model: Path) -> None:
    """Inputs and outputs are known by dtype, shape and the name in the graph."""
    with repository(model).acquire("toy") as servable:
        slow = servable.signatures["slow"]
        definition = servable.signature_defs["slow"]

        assert sorted(servable.signatures) == ["serving_default", "slow"]
        assert servable.signature("") is servable.signatures["serving_default"]
        assert slow.method_name == "tensorflow/serving/predict"
        assert list(slow.inputs) == ["length", "stop", "text"]
        assert slow.inputs["length"] == (tf.int32, (None,), definition.inputs["length"].name)
        code, message = refused(lambda: servable.signature("none"))
    assert (code, message) == (
        Code.FAILED_PRECONDITION,
        "signature 'none' not found; the model has serving_default, slow",
    )


MALFORMED: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "no input": (
        {},
        "the inputs do not match the signature, which takes length, stop, text; missing: length, stop, text",
    ),
    "another input": (
        slow_inputs(b"a", length=1) | {"seed": np.zeros(1)},
        "the inputs do not match the signature, which takes length, stop, text; unknown: seed",
    ),
    "another dtype": (
        slow_inputs(b"a", length=1) | {"length": np.ones(1, np.float32)},
        "input 'length' has the type float32, expected int32",
    ),
    "no strings": (
        slow_inputs(b"a", length=1) | {"text": np.array([None], object)},
        "input 'text' has values that are not strings",
    ),
    "another rank": (
        slow_inputs(b"a", length=1) | {"text": np.array([[b"a"]], object)},
        "input 'text' has the shape [1,1], expected [?]",
    ),
    "unequal rows": (
        slow_inputs(b"a", length=1) | {"length": np.ones(2, np.int32)},
        "all inputs must have the same number of rows; got length: 2, text: 1",
    ),
    "no rows": (slow_inputs(length=1), "the request has no rows, expected at least 1"),
    "too many rows": (
        slow_inputs(*[b"a"] * 6, length=1),
        "the request has 6 rows, at most 5 are allowed (--max-rows)",
    ),
    "a long text": (
        slow_inputs(b"a" * 21, length=1),
        "input 'text' has a string of 21 bytes, at most 20 are allowed (--max-text)",
    ),
    "a long stop": (
        slow_inputs(b"a", length=1, stop=(b"s" * 21,)),
        "input 'stop' has a string of 21 bytes, at most 20 are allowed (--max-text)",
    ),
    "a long answer": (
        slow_inputs(b"a", length=101),
        "input 'length' is 101, at most 100 is allowed (--max-length)",
    ),
}


def test_malformed_requests(repository: Make, model: Path) -> None:
    """What does not fit the signature, or exceeds a limit, is refused before the model sees it."""
    limits = Limits(rows=5, text_bytes=20, length=100)
    with repository(model, limits=limits).acquire("toy") as servable:
        slow = servable.signatures["slow"]
        for name, (inputs, message) in MALFORMED.items():
            assert refused(lambda inputs=inputs: slow(inputs)) == (Code.INVALID_ARGUMENT, message), name

        # What holds for all rows alike may have any number of values.
        found = slow(slow_inputs(b"a" * 20, b"b", length=100, stop=(b"x", b"y", b"z")))
        assert found["text"].tolist() == [b"a" * 20 + b"xyz", b"bxyz"]
        assert found["steps"].tolist() == [100, 100]
        assert slow(slow_inputs(b"a", length=-3, stop=()))["text"].tolist() == [b"a"]


def test_timeout_of_the_server(repository: Make, model: Path) -> None:
    """A request without a deadline has that of the server."""
    one = repository(model, limits=Limits(length=FOREVER, timeout=0.2))
    with one.acquire("toy") as servable:
        code, _ = refused(lambda: servable.signatures["slow"](slow_inputs(b"a", length=FOREVER)))
        assert code is Code.DEADLINE_EXCEEDED


def test_an_error_of_the_model_is_the_clients(repository: Make, model: Path) -> None:
    """A row that the graph itself refuses is answered with its reason."""
    with repository(model).acquire("toy") as servable:
        code, message = refused(lambda: servable.signatures["serving_default"]({"text": texts(b"bad")}))
    assert code is Code.INVALID_ARGUMENT
    assert "a bad text" in message


# Versions


def test_a_swap_under_load_loses_nothing(repository: Make, model: Path, events: Events) -> None:
    """While a new version comes, every request is answered, and by the version that it was given."""
    one = repository(model, batching=Batching(timeout=0.002))
    assert one.ready
    with one.acquire("toy") as servable:
        old = weakref.ref(servable.predictor), weakref.ref(servable.signatures["serving_default"])
        del servable
    found: list[tuple[int, int, bool]] = []
    errors: list[BaseException] = []
    end = threading.Event()

    def client(number: int) -> None:
        text = b"text %d" % number
        try:
            while not end.is_set():
                with one.acquire("toy") as servable:
                    answer = servable.signatures["serving_default"]({"text": texts(text, text)})
                    right = answer["text"].tolist() == [text.upper()] * 2
                    found.append((servable.version, int(answer["version"][1]), right))
        except BaseException as error:
            errors.append(error)

    clients = [threading.Thread(target=client, args=(i,)) for i in range(16)]
    for thread in clients:
        thread.start()
    write_version(model, 2)
    one.poll()
    newest = len(found)
    while len(found) < newest + 200 and not errors:
        time.sleep(0.01)
    end.set()
    for thread in clients:
        thread.join()
    one.poll()

    assert errors == []
    assert {version for version, _, _ in found} == {1, 2}
    assert all(version == by and right for version, by, right in found)
    assert states(one) == {2: State.AVAILABLE, 1: State.END}
    assert [event["version"] for event in events.of("retired")] == [1]
    assert [ref() for ref in old] == [None, None]


def test_garbage_collection_leaves_models_alone(repository: Make, model: Path) -> None:
    """Python does not look through what stays anyway, which makes every request wait; at the end it may."""
    assert gc.get_freeze_count() == 0
    one = repository(model)
    assert gc.get_freeze_count() > 100_000
    write_version(model, 2)
    one.poll()
    assert gc.get_freeze_count() > 100_000
    one.close()
    assert gc.get_freeze_count() == 0


def test_a_version_in_use_stays(repository: Make, model: Path) -> None:
    """A retired version answers those who hold it, and no one else, and goes with the last of them."""
    one = repository(model)
    with one.acquire("toy") as servable:
        write_version(model, 2)
        one.poll()
        assert states(one) == {2: State.AVAILABLE, 1: State.UNLOADING}
        assert answered(one) == 2
        assert refused(lambda: answered(one, version=1))[0] is Code.NOT_FOUND
        one.poll()
        assert servable.signatures["serving_default"]({"text": texts(b"a")})["version"].tolist() == [1]
    one.poll()
    assert states(one) == {2: State.AVAILABLE, 1: State.END}


@pytest.mark.parametrize("damage", ["changed", "missing", "no manifest"])
def test_a_broken_version_leaves_the_old_one(
    repository: Make, model: Path, events: Events, damage: str
) -> None:
    """A version that is not whole is not served, is told of once, and is served when it is whole."""
    one = repository(model)
    new = write_version(model, 2)
    broken = new / ("assets.extra/manifest.json" if damage == "no manifest" else "saved_model.pb")
    whole = broken.read_bytes()
    if damage == "changed":
        broken.write_bytes(whole + b"\0")
    else:
        broken.unlink()
    for _ in range(3):
        one.poll()

    assert one.ready
    assert answered(one) == 1
    (status,) = one.status("toy", version=2)
    assert (status.state, status.error_code) == (State.END, Code.FAILED_PRECONDITION)
    expected = {"changed": "was changed", "missing": "is missing", "no manifest": "is not an export"}
    assert expected[damage] in status.error_message
    assert [event["version"] for event in events.of("load_failed")] == [2]
    broken.write_bytes(whole)
    one.poll()
    one.poll()
    assert states(one) == {2: State.AVAILABLE, 1: State.END}
    assert one.status("toy", version=2)[0].error_code is None
    assert answered(one) == 2


def test_a_copy_in_progress_is_tried_when_it_has_settled(
    repository: Make, model: Path, events: Events
) -> None:
    """A directory that is still growing does not fill the log."""
    one = repository(model)
    new = write_version(model, 2)
    whole = (new / "saved_model.pb").read_bytes()
    for size in (10, 20, 30, 40):
        (new / "saved_model.pb").write_bytes(whole[:size])
        one.poll()
    assert len(events.of("load_failed")) == 1
    (new / "saved_model.pb").write_bytes(whole)
    one.poll()
    one.poll()
    assert answered(one) == 2


def test_a_graph_that_does_more_than_compute(repository: Make, model: Path, tmp_path: Path) -> None:
    """An operation that reads files keeps a version from being loaded at all."""
    secret = tmp_path / "secret"

    @tf.function(input_signature=[ROWS], autograph=False)
    def steal(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"text": tf.fill(tf.shape(text), tf.io.read_file(str(secret)))}

    write_version(model, 2, signatures={"serving_default": steal})
    one = repository(model)

    assert answered(one) == 1
    assert "ReadFile" in one.status("toy", version=2)[0].error_message


def test_a_warm_up_that_fails(repository: Make, model: Path) -> None:
    """A version that can't answer the requests beside it is not served."""
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

    for version, text in ((2, b"good"), (3, b"bad")):
        request = PredictRequest()
        request.model_spec.signature_name = "serving_default"
        request.inputs["text"].CopyFrom(tf.make_tensor_proto([text, text]))
        write_warmup(write_version(model, version), [request])
        seal(model / str(version))
    one = repository(model, limits=Limits(rows=1))

    assert answered(one) == 2
    assert "a bad text" in one.status("toy", version=3)[0].error_message


def test_versions_and_labels(repository: Make, model: Path) -> None:
    """The newest versions are served, and those with a label; each can be asked for."""
    for version in (2, 3, 10):
        write_version(model, version)
    (model / "notes").mkdir()
    one = repository(model, keep=2, labels={("toy", "stable"): 1, ("toy", "next"): 11})

    assert states(one) == {10: State.AVAILABLE, 3: State.AVAILABLE, 1: State.AVAILABLE}
    assert [answered(one), answered(one, version=3), answered(one, label="stable")] == [10, 3, 1]
    assert [status.version for status in one.status("toy", label="stable")] == [1]
    assert refused(lambda: answered(one, version=2)) == (
        Code.NOT_FOUND,
        "version 2 of model 'toy' is not available",
    )
    assert refused(lambda: answered(one, label="next")) == (
        Code.NOT_FOUND,
        "version 11 of model 'toy' is not available",
    )
    assert refused(lambda: answered(one, label="old")) == (
        Code.INVALID_ARGUMENT,
        "model 'toy' has no version label 'old'",
    )


def test_going_back(repository: Make, model: Path) -> None:
    """Without its newest version a model is served from the one before; without any, as it is."""
    write_version(model, 2)
    one = repository(model)
    assert answered(one) == 2
    shutil.rmtree(model / "2")
    one.poll()
    assert answered(one) == 1
    one.poll()
    assert states(one) == {1: State.AVAILABLE}
    shutil.rmtree(model)
    one.poll()
    assert answered(one) == 1


def test_unknown_models(repository: Make, model: Path) -> None:
    """Unknown models and versions are refused by name."""
    one = repository(model)

    def acquire(name: str) -> None:
        with one.acquire(name):
            pass

    assert one.names == ["toy"]
    assert refused(lambda: acquire("other")) == (
        Code.NOT_FOUND,
        "model 'other' not found",
    )
    assert refused(lambda: acquire(""))[0] is Code.INVALID_ARGUMENT
    assert refused(lambda: one.status("other")) == (
        Code.NOT_FOUND,
        "no version of model 'other' found",
    )
    assert refused(lambda: one.status("toy", version=7)) == (
        Code.NOT_FOUND,
        "version 7 of model 'toy' not found",
    )


def test_readiness(repository: Make, model: Path, tmp_path: Path) -> None:
    """All models must answer; a server that is about to end is not ready."""
    empty = tmp_path / "other"
    empty.mkdir()
    one = repository(model, empty)
    assert not one.ready
    write_version(empty, 1)
    one.poll()
    assert one.ready
    one.stop()
    assert not one.ready
    assert answered(one) == 1


def test_a_version_directory_is_served_alone(repository: Make, model: Path, tmp_path: Path) -> None:
    """The directory of one version is a model, too; its number is in its name or its manifest."""
    write_version(model, 2)
    copy = shutil.copytree(model / "2", tmp_path / "copy")
    one = repository(model / "1")

    assert [status.version for status in one.status("1")] == [1]
    assert versions_of(copy) == {2: copy}


def test_new_versions_are_found(repository: Make, model: Path) -> None:
    """The started repository looks for itself."""
    one = repository(model)
    one.start(0.05)
    write_version(model, 2)
    end = time.monotonic() + 20
    while answered(one) != 2:
        assert time.monotonic() < end
        time.sleep(0.02)


# Exports of all tasks


def test_documented_signatures(tiny: Repository) -> None:
    """The documentation lists the signatures that the manifests mark as batched, and the others."""
    docs = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
    for task in tiny.names:
        ((batched, others),) = re.findall(rf"^\| {task} \|(.*?)\|(.*?)\|$", docs, re.MULTILINE)
        with tiny.acquire(task) as servable:
            signatures = servable.manifest.signatures
        for flag, text in ((True, batched), (False, others)):
            expected = {name for name, about in signatures.items() if about.batched is flag}
            assert set(re.findall(r"`(\w+)`", text)) == expected, task


def test_native_kernels_that_cannot_run(repository: Make, model: Path, events: Events) -> None:
    """If native kernels are asked for, a version that cannot run them is not loaded."""
    served = repository(model, kernels="native")

    assert not served.ready
    assert "the native kernels" in events.of("load_failed")[0]["error"]
