from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf
from click.testing import Result
from tensorflow.core.protobuf import saved_model_pb2

from app.artifacts.golden import GOLDEN
from app.artifacts.hard_texts import LONG, hard_texts
from app.artifacts.manifests import EXPORT_MANIFEST
from app.artifacts.replay import difference, encoded, padded
from app.verification.checks import SMALLEST_GOLDEN_SET
from app.verify import Report, verify

Command = Callable[..., Result]


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """Return a copy of an export, to be spoilt."""
    return Path(shutil.copytree(exported, tmp_path / "copy" / "1"))


def seal(export: Path) -> None:
    """Write the checksums of an export anew, as somebody does who wants a change to go unnoticed."""
    path = export / EXPORT_MANIFEST
    manifest = json.loads(path.read_text())
    for name in manifest["files"]:
        if (export / name).is_file():
            manifest["files"][name] = hashlib.sha256((export / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest))


def edit_manifest(export: Path, **changes: Any) -> None:
    path = export / EXPORT_MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_graph(export: Path, change: Callable[[Any], None]) -> None:
    """Change the graph of an export, and its checksum."""
    path = export / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(saved.meta_graphs[0])
    path.write_bytes(saved.SerializeToString())
    seal(export)


def edit_golden(export: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Change the cases of a golden set, and its checksum."""
    path = export / GOLDEN
    cases = [json.loads(line) for line in path.read_text().splitlines()]
    change(cases)
    path.write_text("".join(f"{json.dumps(case)}\n" for case in cases))
    seal(export)


def problems(report: Report) -> dict[str, list[str]]:
    """Return what is wrong, by the check that found it."""
    return {check.name: check.problems for check in report.checks if check.problems}


@pytest.fixture(scope="module")
def report(exported: Path) -> Report:
    """Return the report of a good export."""
    return verify(exported)


def test_a_good_export_passes(report: Report) -> None:
    """All that is looked at is as it should be, and every check says what it saw."""
    assert report.passed
    assert [check.name for check in report.checks] == [
        *("manifest", "checksums", "operations", "signatures", "kernels", "warm-up", "alone", "golden set"),
        "native",
    ]
    assert all(check.said for check in report.checks)


def test_kernels_of_both_kinds_of_hosts_are_shown(report: Report) -> None:
    """Each direction of each layer runs BlockLSTMV2 on a CPU, and cuDNN on a GPU."""
    details = report.as_json()["checks"][4]
    alone = report.as_json()["checks"][6]

    assert details["signatures"]["serving_default"]["gpu"] == "2 × CudnnRNNV3"
    assert "2 × BlockLSTMV2" in details["signatures"]["serving_default"]["cpu"]
    assert "Cudnn" not in details["signatures"]["serving_default"]["cpu"]
    assert alone["ran"]["serving_default"] == {"BlockLSTMV2 on CPU": 2} or alone["gpus"]
    assert any("serving_default" in line and "GPU host: 2 × CudnnRNNV3" in line for line in report.lines())


def test_golden_set_is_asked_in_all_ways(report: Report) -> None:
    """Each text is asked alone, among all others, in another order and in a session, and answered alike."""
    ways = report.as_json()["checks"][7]["ways"]

    assert list(ways) == ["one by one", "one batch", "shuffled", "a TF1 session"]
    for way in ways.values():
        assert way["answers"] >= SMALLEST_GOLDEN_SET + 30
        assert way["largest_difference"] < 1e-5
        assert way["wrong"] == []


def test_command(command: Command, copy: Path) -> None:
    """The exit status says whether it passes; `--json` prints one object; the newest version counts."""
    edit_manifest(copy, task="chess")
    shutil.copytree(copy, copy.parent / "10")
    (copy.parent / "10" / EXPORT_MANIFEST).unlink()
    result = command("verify", copy.parent, "--json", "--no-replay")
    found = json.loads(result.stdout)

    assert result.exit_code == 1
    assert found["export"].endswith("/10")
    assert not found["passed"]
    assert {check["name"] for check in found["checks"] if not check["passed"]} >= {"manifest", "checksums"}
    plain = command("verify", copy, "--no-replay")
    assert plain.exit_code == 1
    assert "FAILED  manifest" in plain.stdout
    assert (
        "task 'chess' is unknown; expected one of classification, tagging, generation, translation"
        in plain.stdout
    )


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_no_export(command: Command, tmp_path: Path, path: str) -> None:
    """What is no SavedModel ends in one line."""
    result = command("verify", tmp_path / path)

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "no SavedModel" in result.stderr


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_flipped_byte(copy: Path, name: str) -> None:
    """One byte of a file that is another one is named; whatever TensorFlow makes of it."""
    path = copy / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    assert problems(verify(copy, replay=False))["checksums"] == [
        f"{name} was changed: its sha256 differs from the manifest"
    ]


def test_files_that_are_missing_or_new(copy: Path) -> None:
    """A file too few and one too many are named."""
    (copy / "fingerprint.pb").unlink()
    (copy / "notes.txt").write_text("hello")
    found = problems(verify(copy, replay=False))["checksums"]

    assert found == ["fingerprint.pb is missing", "notes.txt is not listed in the manifest"]


def test_swapped_vocabulary(copy: Path) -> None:
    """Another vocabulary with checksums that fit is found by the answers."""

    def swap(graph: Any) -> None:
        constants = [
            node.attr["value"].tensor
            for nodes in (graph.graph_def.node, *(f.node_def for f in graph.graph_def.library.function))
            for node in nodes
            if node.op == "Const" and len(node.attr["value"].tensor.string_val) > 30
        ]
        assert constants
        for tensor in constants:
            values = list(tensor.string_val)
            tensor.string_val[3:] = values[3:][::-1]

    edit_graph(copy, swap)
    found = problems(verify(copy))

    assert list(found) == ["golden set"]
    assert "the golden output" in found["golden set"][0]


def test_operation_that_writes_files(copy: Path) -> None:
    """A graph that could write a file is refused, names the operation, and is not run."""

    def add(graph: Any) -> None:
        name = graph.graph_def.node.add(name="name", op="Const")
        name.attr["dtype"].type = tf.string.as_datatype_enum
        name.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(str(copy / "written")))
        graph.graph_def.node.add(name="hidden", op="WriteFile", input=["name", "name"])

    edit_graph(copy, add)
    found = problems(verify(copy))

    assert "'WriteFile'" in found["operations"][0]
    assert found["golden set"] == ["the graph is not run: it has operations that are not allowed"]
    assert list(found) == ["operations", "golden set"]


def test_stale_golden_answer(copy: Path) -> None:
    """An answer that was another one is named by the text, the signature, the output and both values.

    And forty texts are asked for. What rounding decides is not compared.
    """

    def change(cases: list[dict[str, Any]]) -> None:
        case = next(c for c in cases if (c["signature"], c["name"]) == ("serving_default", "Greek"))
        case["outputs"]["label"]["data"] = [base64.b64encode(b"so-so").decode()]
        case = next(c for c in cases if (c["signature"], c["name"]) == ("explain", "Greek"))
        case["outputs"]["label"]["data"] = [base64.b64encode(b"so-so").decode()]
        case["settled"] = False
        case = next(c for c in cases if (c["signature"], c["name"]) == ("serving_default", "Greek"))
        others = [c for c in cases if c["signature"] == "serving_default" and c is not case]
        cases[:] = [c for c in cases if c["signature"] != "serving_default"] + [case, *others[:38]]
        unsettled.append(sum(not c["settled"] for c in cases))  # rounding may decide others, too

    unsettled: list[int] = []
    edit_golden(copy, change)
    report = verify(copy)
    found = problems(report)

    assert report.checks[-1].details["unsettled"] == unsettled[0] >= 1
    assert f"{unsettled[0]} not compared" in report.checks[-1].said
    assert list(found) == ["golden set"]
    assert len(found["golden set"]) == 5
    assert found["golden set"][0] == "serving_default has 39 cases; expected at least 40"
    assert found["golden set"][1].startswith("serving_default, 'Greek', one by one: label is ['")
    assert found["golden set"][1].endswith("the golden output ['so-so']")


@pytest.mark.parametrize("content", ["", "no JSON\n", '{"name": "a"}\n'])
def test_spoilt_golden_set(copy: Path, content: str) -> None:
    """A golden set that can't be read, or is empty, is a problem and no traceback."""
    (copy / GOLDEN).write_text(content)
    seal(copy)

    assert list(problems(verify(copy))) == ["golden set"]


def test_missing_signature(copy: Path) -> None:
    """A signature that the manifest promises must be there."""
    edit_graph(copy, lambda graph: graph.signature_def.pop("explain"))
    found = problems(verify(copy, replay=False))

    assert found["signatures"] == ["signature 'explain' is missing"]


def test_signature_with_another_output(copy: Path) -> None:
    """A signature that the manifest describes otherwise is named."""
    edit_graph(copy, lambda graph: graph.signature_def["explain"].outputs.pop("start"))

    assert "signature 'explain' is" in problems(verify(copy, replay=False))["signatures"][0]


def test_export_of_keras(tmp_path: Path) -> None:
    """What Keras exports runs a loop on every host, and is no export of this program."""
    model = keras.Sequential(
        [keras.layers.Input([None], dtype="int32"), keras.layers.Embedding(9, 4), keras.layers.LSTM(4)]
    )
    model.export(tmp_path / "1", format="tf_saved_model", verbose=False)
    found = problems(verify(tmp_path / "1"))

    assert "created by 'textrnn export'" in found["manifest"][0]
    assert "runs a loop on every host" in found["kernels"][0]
    assert "operations" in found  # assertions, that print
    assert found["golden set"] == ["the graph is not run: it has operations that are not allowed"]


def test_layers_that_are_not_swapped(copy: Path) -> None:
    """A call without its implementation for the GPU is one that cuDNN will not take over."""

    def spoil(graph: Any) -> None:
        for function in graph.graph_def.library.function:
            if function.attr["api_preferred_device"].s == b"GPU":
                function.attr["api_implements"].s += b"_other"

    edit_graph(copy, spoil)
    found = problems(verify(copy, replay=False))["kernels"]

    assert any("serving_default" in problem and "expected 2" in problem for problem in found)


# The golden set


@pytest.mark.parametrize("tokens", ["word", "char", "byte", "subword"])
def test_hard_texts(tokens: str) -> None:
    """There are more than forty different texts, and the longest training text if it is given."""
    assert "the longest of the training data" not in hard_texts(tokens)
    texts = hard_texts(tokens, b"the longest")

    assert len(set(texts.values())) == len(texts) >= SMALLEST_GOLDEN_SET + 5
    assert texts["the longest of the training data"] == b"the longest"
    long = texts[f"{LONG:,} tokens"]
    assert (len(long) if tokens in ("char", "byte") else len(long.split())) == LONG
    with pytest.raises(UnicodeDecodeError):
        texts["bytes that are no UTF-8"].decode()


def test_the_longest_training_text_is_opt_in(
    command: Command, run: Path, exported: Path, reviews: Path, tmp_path: Path
) -> None:
    """An export has no training text, unless `--with-training-text` adds the longest one."""
    rows = [json.loads(line)["text"] for line in (reviews / "train.jsonl").read_text().splitlines()]
    longest = max(rows, key=len)

    def texts(export: Path) -> dict[str, str]:
        cases = [json.loads(line) for line in (export / GOLDEN).read_text().splitlines()]
        return {
            case["name"]: base64.b64decode(case["rows"]["text"]["data"][0]).decode(errors="replace")
            for case in cases
        }

    assert longest not in texts(exported).values()
    result = command("export", run, "--output", tmp_path / "with", "--with-training-text")
    assert result.exit_code == 0
    assert texts(tmp_path / "with" / "1")["the longest of the training data"] == longest


def test_difference() -> None:
    """Numbers may be a little apart; padding does not count; anything else is not the same."""
    import numpy as np

    numbers = np.array([[1.0, 2.0]], np.float32)
    words = np.array([[b"a", b"b"]], object)
    assert difference(numbers + np.float32(1e-4), numbers) == pytest.approx(1e-4, rel=0.01)
    assert difference(numbers + np.float32(0.01), numbers) is None
    assert difference(numbers + np.float32(0.01), numbers, slack=10) == pytest.approx(0.01, rel=0.01)
    assert difference(np.array([[1, 2, 0]], np.float32), numbers) == 0
    assert difference(np.array([[0, 1, 2]], np.float32), numbers) == 0
    assert difference(np.array([[1, 2, 0], [0, 0, 0]], np.float32), numbers) == 0
    assert difference(np.array([[0, 1, 3]], np.float32), numbers) is None
    assert difference(np.array([[1, 0, 2]], np.float32), numbers) is None
    assert difference(np.zeros((1, 3), np.float32), numbers) is None
    assert difference(np.array([[1, 2, 3]], np.float32), numbers) is None
    assert difference(numbers[:, :1], numbers) is None
    assert difference(numbers * np.nan, numbers) is None
    assert difference(np.array([[b"a", b"b", b""]], object), words) == 0
    assert difference(np.array([[b"a", b"c"]], object), words) is None
    assert difference(np.array([[1, 3]], np.int32), np.array([[1, 2]], np.int32)) is None
    assert padded([numbers, np.ones([1, 3], np.float32)]).tolist() == [[1, 2, 0], [1, 1, 1]]
    assert encoded(words)["data"] == ["YQ==", "Yg=="]
