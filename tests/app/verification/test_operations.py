from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow.python.framework import op_def_registry

from app.artifacts.operations import ALLOWED, forbidden_operations
from data.errors import UserError

Change = Callable[[meta_graph_pb2.MetaGraphDef], object]


class Honest(tf.Module):
    """A model with what every export has: a variable, a table, a function in a function."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(2.0)
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1.0]), 0.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def inner(self, text: tf.Tensor) -> tf.Tensor:
        return self.table.lookup(text) * self.weight

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def served(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": self.inner(text)}


def saved(module: Any, folder: Path) -> Path:
    """Return the directory of a module saved with its function `served` as signature."""
    tf.saved_model.save(module, str(folder), signatures=module.served)
    return folder


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> saved_model_pb2.SavedModel:
    """Return what is in the file of a model without fault."""
    folder = saved(Honest(), tmp_path_factory.mktemp("honest"))
    return saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())


@pytest.fixture
def findings(honest: saved_model_pb2.SavedModel, tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function from a change of the model's graph to what is found in it."""

    def find(change: Change = lambda graph: None) -> list[str]:
        changed = saved_model_pb2.SavedModel()
        changed.CopyFrom(honest)
        change(changed.meta_graphs[0])
        (tmp_path / "saved_model.pb").write_bytes(changed.SerializeToString())
        return forbidden_operations(tmp_path)

    return find


def function(graph: meta_graph_pb2.MetaGraphDef, part: str) -> Any:
    """Return the one function of a graph whose name has a part."""
    (found,) = [f for f in graph.graph_def.library.function if part in f.signature.name]
    return found


def node(graph: meta_graph_pb2.MetaGraphDef, name: str) -> Any:
    """Return a node of the graph itself."""
    (found,) = [n for n in graph.graph_def.node if n.name == name]
    return found


def saver_call(graph: meta_graph_pb2.MetaGraphDef, which: str) -> Any:
    """Return the node that calls the function that saves or restores."""
    name = {"save": graph.saver_def.save_tensor_name, "restore": graph.saver_def.restore_op_name}[which]
    return node(graph, name.partition(":")[0])


# What is allowed


def test_an_honest_model(findings: Callable[..., list[str]]) -> None:
    """A model that computes has no findings, its functions that restore and save among what it holds."""
    assert findings() == []


def test_the_list_has_no_misspelt_names() -> None:
    """Every allowed operation is one of TensorFlow."""
    assert [name for name in sorted(ALLOWED) if op_def_registry.get(name) is None] == []


def test_what_is_allowed_leaves_nothing_behind() -> None:
    """Allowed operations have no effects, but for variables and tables, calls of functions, and a failure."""
    effects = {name for name in ALLOWED if op_def_registry.get(name).is_stateful}

    assert effects == {
        *("VarHandleOp", "ReadVariableOp", "VarIsInitializedOp", "VariableShape", "DisableCopyOnRead"),
        *("ResourceGather", "ResourceGatherNd"),
        *(
            "HashTableV2",
            "InitializeTableV2",
            "LookupTableFindV2",
            "LookupTableImportV2",
            "LookupTableSizeV2",
        ),
        *("StatefulPartitionedCall", "If", "Case", "While", "Assert"),
        *("CudnnRNNV3", "CudnnRNNBackpropV3"),
        "StatelessRandomGetAlg",  # asks for the kind of device
    }


# What is not

FORBIDDEN = {
    "files": ["WriteFile", "ReadFile", "MatchingFiles", "SaveV2", "Save", "RestoreV2", "RestoreSlice"],
    "tables from files": ["InitializeTableFromTextFile", "InitializeTableFromTextFileV2"],
    "screen": ["Print", "PrintV2"],
    "Python": ["PyFunc", "PyFuncStateless", "EagerPyFunc"],
    "data": [
        "TextLineDataset",
        "TFRecordDatasetV2",
        "IteratorGetNext",
        "TextLineReaderV2",
        "WholeFileReaderV2",
    ],
    "hosts": ["_Send", "_Recv", "RemoteCall", "DataServiceDatasetV4"],
    "time": ["Timestamp"],
    "weights": ["AssignVariableOp", "AssignAddVariableOp", "ResourceApplyGradientDescent", "ScatterUpdate"],
    "state that lasts": ["MutableHashTableV2", "FIFOQueueV2", "StackV2", "Stage", "VariableV2"],
    "memory as it lies": ["Empty"],
    "summaries": ["WriteScalarSummary", "SummaryWriter", "CreateSummaryFileWriter"],
    "what is not TensorFlow's": ["Custom", "custom>Operation", "Exec"],
}


@pytest.mark.parametrize("operation", [name for names in FORBIDDEN.values() for name in names])
def test_forbidden(findings: Callable[..., list[str]], operation: str) -> None:
    """It is found in the graph, in a function, in a function that nothing calls, and in a second graph."""

    def add(graph: meta_graph_pb2.MetaGraphDef) -> None:
        graph.graph_def.node.add(name="one", op=operation)
        function(graph, "inference_inner").node_def.add(name="two", op=operation)
        unused = graph.graph_def.library.function.add()
        unused.signature.name = "unused"
        unused.node_def.add(name="three", op=operation)

    lines = findings(add)

    assert len(lines) == 3
    for line, parts in zip(
        lines, (["'one'", "the graph"], ["'two'", "_inner_"], ["'three'", "'unused'"]), strict=True
    ):
        assert all(part in line for part in (repr(operation), *parts))


def test_every_graph_is_read(honest: saved_model_pb2.SavedModel, tmp_path: Path) -> None:
    """A second graph, for a server with other tags, hides nothing."""
    both = saved_model_pb2.SavedModel()
    both.CopyFrom(honest)
    second = both.meta_graphs.add()
    second.CopyFrom(honest.meta_graphs[0])
    second.meta_info_def.tags.append("gpu")
    second.graph_def.node.add(name="hidden", op="WriteFile")
    (tmp_path / "saved_model.pb").write_bytes(both.SerializeToString())

    (line,) = forbidden_operations(tmp_path)

    assert "'hidden'" in line


class Writing(tf.Module):
    """A model that writes a file when it is asked."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def served(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.io.write_file(self.path, text[0])
        return {"score": tf.zeros([1])}


class Reading(tf.Module):
    """A model that reads a file when it is loaded, and answers with its lines."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        path.write_text("secret\n")
        lines = tf.lookup.TextFileInitializer(
            str(path),
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
        )
        self.table = tf.lookup.StaticHashTable(lines, "")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def served(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": self.table.lookup(tf.zeros_like(text, tf.int64))}


class Remembering(tf.Module):
    """A model that keeps what it was asked for whoever asks next."""

    def __init__(self) -> None:
        super().__init__()
        self.last = tf.Variable("")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def served(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        before = self.last.read_value()
        self.last.assign(text[0])
        return {"score": before[tf.newaxis]}


def test_a_model_that_writes(tmp_path: Path) -> None:
    """It is found out without the file being written, which asking it does."""
    written = tmp_path / "written"
    folder = saved(Writing(written), tmp_path / "model")

    assert len(lines := forbidden_operations(folder)) == 1
    assert "'WriteFile'" in lines[0]
    assert "served" in lines[0]
    assert not written.exists()
    tf.saved_model.load(str(folder)).signatures["serving_default"](text=tf.constant(["mine"]))
    assert written.read_bytes() == b"mine"


def test_a_model_that_reads(tmp_path: Path) -> None:
    """A table that is filled from a file is found in what is run when the model is loaded."""
    folder = saved(Reading(tmp_path / "secret"), tmp_path / "model")

    assert any("'InitializeTableFromTextFileV2'" in line for line in forbidden_operations(folder))


def test_a_model_that_remembers(tmp_path: Path) -> None:
    """A signature that writes a variable is found, although loading writes them all."""
    lines = forbidden_operations(saved(Remembering(), tmp_path / "model"))

    assert len(lines) == 1
    assert "'AssignVariableOp'" in lines[0]
    assert "served" in lines[0]


@pytest.mark.parametrize("name", ["saved_model.pbtxt", "saved_model.cpb"])
def test_another_graph_beside(findings: Callable[..., list[str]], tmp_path: Path, name: str) -> None:
    """A file that a loader may take for the graph, and that was not read, is no good sign."""
    (tmp_path / name).write_text("")

    (line,) = findings()

    assert line.startswith(name)


def test_a_function_as_operation(findings: Callable[..., list[str]]) -> None:
    """A function may be called as an operation, but not be called like one of TensorFlow's."""

    def own(graph: meta_graph_pb2.MetaGraphDef) -> None:
        graph.graph_def.library.function.add().signature.name = "__inference_own"
        graph.graph_def.node.add(name="call", op="__inference_own")

    def disguised(graph: meta_graph_pb2.MetaGraphDef) -> None:
        graph.graph_def.library.function.add().signature.name = "WriteFile"
        graph.graph_def.node.add(name="call", op="WriteFile")

    assert findings(own) == []
    assert len(findings(disguised)) == 1


# The functions that restore and save


def from_a_signature(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Let a function of the signature call the one that saves, with a name of a file of its own."""
    call = function(graph, "signature_wrapper").node_def.add(name="more", op="StatefulPartitionedCall")
    call.attr["f"].func.name = saver_call(graph, which).attr["f"].func.name


def from_the_graph(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Call it once more in the graph."""
    graph.graph_def.node.add().CopyFrom(saver_call(graph, which))
    graph.graph_def.node[-1].name = "more"


def as_an_operation(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Call it as an operation."""
    name = saver_call(graph, which).attr["f"].func.name
    function(graph, "inference_inner").node_def.add(name="more", op=name)


def in_a_loop(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Make it the branch of a choice."""
    choice = function(graph, "inference_inner").node_def.add(name="more", op="Case")
    choice.attr["branches"].list.func.add().name = saver_call(graph, which).attr["f"].func.name


def from_the_object_graph(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Make it a function that Python's loader may call."""
    name = saver_call(graph, which).attr["f"].func.name
    graph.object_graph_def.nodes.add().function.concrete_functions.append(name)


def as_an_answer(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Make what it returns an output of a signature."""
    outputs = graph.signature_def["serving_default"].outputs
    outputs["more"].name = f"{saver_call(graph, which).name}:0"


def when_loaded(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Make it what is run when the model is loaded."""
    graph.collection_def["saved_model_main_op"].node_list.value[:] = [saver_call(graph, which).name]


def before_an_answer(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Let the node that answers wait for it."""
    output = graph.signature_def["serving_default"].outputs["score"].name
    node(graph, output.partition(":")[0]).input.append(f"^{saver_call(graph, which).name}")


def in_place_of_another(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Let it be an implementation of what a signature calls."""
    attributes = function(graph, f"traced_{which}").attr
    attributes["api_implements"].s = b"something"
    attributes["api_preferred_device"].s = b"CPU"


def as_a_gradient(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Let it be the gradient of a function."""
    graph.graph_def.library.gradient.add(
        function_name=function(graph, "inference_inner").signature.name,
        gradient_func=saver_call(graph, which).attr["f"].func.name,
    )


def by_an_attribute(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Let a function say that this one runs it backward."""
    name = saver_call(graph, which).attr["f"].func.name
    function(graph, "inference_inner").attr["backward_function_name"].s = name.encode()


def with_its_own_file(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Replace the name of the file that comes from outside."""
    name = graph.saver_def.filename_tensor_name.partition(":")[0]
    node(graph, name).op = "Const"


def with_another_file(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Give its call another name of a file than the one that comes from outside."""
    graph.graph_def.node.add(name="path", op="Const")
    saver_call(graph, which).input[0] = "path"


def twice(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Have two functions of this name."""
    graph.graph_def.library.function.add().CopyFrom(function(graph, f"traced_{which}"))


def by_another_name(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Let the saver name something else."""
    if which == "save":
        graph.saver_def.save_tensor_name = graph.signature_def["serving_default"].outputs["score"].name
    else:
        graph.saver_def.restore_op_name = "StatefulPartitionedCall"


def without_a_saver(graph: meta_graph_pb2.MetaGraphDef, which: str) -> None:
    """Leave only functions with the names of a saver's."""
    graph.ClearField("saver_def")


ABUSES = [
    from_a_signature,
    from_the_graph,
    as_an_operation,
    in_a_loop,
    from_the_object_graph,
    as_an_answer,
    when_loaded,
    before_an_answer,
    in_place_of_another,
    as_a_gradient,
    by_an_attribute,
    with_its_own_file,
    with_another_file,
    twice,
    by_another_name,
    without_a_saver,
]


@pytest.mark.parametrize("which", ["save", "restore"])
@pytest.mark.parametrize("abuse", ABUSES)
def test_functions_of_the_saver(findings: Callable[..., list[str]], which: str, abuse: Any) -> None:
    """They may work with files only where the graph can't use them for anything else."""
    lines = findings(lambda graph: abuse(graph, which))

    operation = {"save": "'SaveV2'", "restore": "'RestoreV2'"}[which]
    assert any(operation in line and f"_traced_{which}_" in line for line in lines)


def test_restored_from_one_file(findings: Callable[..., list[str]]) -> None:
    """The function that restores reads no file but the one that it is given."""

    def read_another(graph: meta_graph_pb2.MetaGraphDef) -> None:
        restoring = function(graph, "traced_restore")
        restoring.node_def.add(name="path", op="Const")
        (reading,) = [n for n in restoring.node_def if n.op == "RestoreV2"]
        restoring.node_def.add().CopyFrom(reading)
        restoring.node_def[-1].name = "another"
        restoring.node_def[-1].input[0] = "path:output:0"

    assert any("'another'" in line for line in findings(read_another))


@pytest.mark.parametrize(
    ("which", "operation"), [("save", "RestoreV2"), ("restore", "SaveV2"), ("save", "WriteFile")]
)
def test_no_more_than_needed(findings: Callable[..., list[str]], which: str, operation: str) -> None:
    """The function that saves does not restore, nor the other way round, nor do they anything else."""

    def add(graph: meta_graph_pb2.MetaGraphDef) -> None:
        function(graph, f"traced_{which}").node_def.add(name="more", op=operation)

    (line,) = findings(add)
    assert "'more'" in line


def test_names_inside_of_functions_are_others(findings: Callable[..., list[str]]) -> None:
    """A node of a function may have the name of the call that restores: it is another one."""

    def same_name(graph: meta_graph_pb2.MetaGraphDef) -> None:
        body = function(graph, "inference_inner").node_def
        body.add(name=saver_call(graph, "restore").name, op="NoOp")
        body.add(name="after", op="NoOp").input.append(f"^{saver_call(graph, 'restore').name}")

    assert findings(same_name) == []


# What is no SavedModel


def no_file(folder: Path) -> None:
    (folder / "saved_model.pbtxt").write_text("")


def no_message(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"\xff" * 100)


def no_graph(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"")


@pytest.mark.parametrize("make", [no_file, no_message, no_graph])
def test_no_saved_model(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A directory without a SavedModel that can be read is refused."""
    make(tmp_path)

    with pytest.raises(UserError, match=r"saved_model\.pb"):
        forbidden_operations(tmp_path)


# Of every task


@pytest.mark.parametrize(
    ("case", "labels"),
    [
        (("classification", "model.pooling=attention", "model.cell=gru"), True),
        (("classification", "text.tokens=subword", "model.layers=0"), True),
        (("tagging", "model.crf=true", "model.character_features=convolution"), True),
        (("generation", "text.tokens=word", "model.cell=gru"), True),
        (("translation", "text.tokens=byte", "model.cell=simple", "model.attention=multiplicative"), False),
    ],
    ids=lambda case: " ".join(case) if isinstance(case, tuple) else "",
)
def test_tasks(untrained: Callable[..., Path], case: tuple[str, ...], labels: bool) -> None:
    """No signature of any task needs more than is allowed: gradients, searches, CRFs, tables."""
    assert forbidden_operations(untrained(*case, labels=labels)) == []
