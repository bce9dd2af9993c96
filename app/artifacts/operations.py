"""Operations of the graphs of a SavedModel, found without loading it.

A SavedModel is code: calling it runs its graph, and a graph can read and write files, run Python and open
network connections. Computing predictions from texts needs none of these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tensorflow.core.framework import function_pb2, graph_pb2, node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.framework import op_def_registry

from app.artifacts.saved_model import SAVED_MODEL, functions_in, node_of, read_saved_model
from data.errors import UserError

_OTHER_GRAPHS = ("saved_model.pbtxt", "saved_model.cpb")
"""Files that some loaders read instead of `saved_model.pb`."""

_FAMILIES = {
    "constants, arguments, and what only passes values on": """
        Const EnsureShape Identity IdentityN NoOp Placeholder PlaceholderWithDefault PreventGradient
        StopGradient""",
    "calls, choices and loops": """
        Assert Case If PartitionedCall StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile
        While""",
    "arithmetic and comparison": """
        Abs AccumulateNV2 Acos Add AddN AddV2 ApproximateEqual Asin Atan Atan2 Bitcast BitwiseAnd
        BitwiseOr BitwiseXor Cast Ceil ClipByValue Cos Cosh Div DivNoNan Equal Erf Erfc Exp Expm1 Floor
        FloorDiv FloorMod Greater GreaterEqual Inv Invert IsFinite IsInf IsNan LeftShift Less LessEqual
        Log Log1p LogicalAnd LogicalNot LogicalOr Maximum Minimum Mod Mul MulNoNan Neg NotEqual Pow
        RealDiv Reciprocal RightShift Rint Round Rsqrt Sign Sin Sinh Sqrt Square SquaredDifference Sub Tan
        TruncateDiv TruncateMod Xdivy Xlog1py Xlogy""",
    "matrices": "BatchMatMul BatchMatMulV2 BatchMatMulV3 BiasAdd BiasAddV1 Einsum MatMul",
    "reduction, order and choice": """
        All Any ArgMax ArgMin Bincount Cumprod Cumsum CumulativeLogsumexp DenseBincount EuclideanNorm
        InTopKV2 LowerBound Max Mean Min Prod Select SelectV2 Sum TopK TopKV2 Unique UniqueV2
        UniqueWithCounts UniqueWithCountsV2 UpperBound Where""",
    "sums and more over the parts of an array": """
        SegmentMax SegmentMaxV2 SegmentMean SegmentMin SegmentMinV2 SegmentProd SegmentProdV2 SegmentSum
        SegmentSumV2 UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum""",
    "shapes and places": """
        BroadcastArgs BroadcastTo Concat ConcatV2 DepthToSpace Diag DiagPart DynamicPartition
        DynamicStitch ExpandDims Fill Gather GatherNd GatherV2 InvertPermutation LinSpace ListDiff
        MatrixBandPart MatrixDiag MatrixDiagPartV3 MatrixDiagV3 MatrixSetDiagV3 MirrorPad OneHot OnesLike
        Pack Pad PadV2 ParallelDynamicStitch Range Rank Reshape Reverse ReverseSequence ReverseV2 Roll
        ScatterNd Shape ShapeN Size Slice SpaceToDepth Split SplitV Squeeze StridedSlice TensorScatterAdd
        TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate Tile Transpose Unpack
        UnravelIndex ZerosLike""",
    "rows of different lengths": """
        RaggedGather RaggedRange RaggedTensorFromVariant RaggedTensorToSparse RaggedTensorToTensor
        RaggedTensorToVariant SparseFillEmptyRows SparseReorder SparseReshape SparseSlice SparseToDense""",
    "layers": """
        AvgPool Conv2D Elu LeakyRelu LogSoftmax MaxPool Relu Relu6 Selu Sigmoid Softmax
        SoftmaxCrossEntropyWithLogits Softplus Softsign SparseSoftmaxCrossEntropyWithLogits Tanh""",
    "recurrent kernels": "BlockLSTMV2 CudnnRNNV3",
    "gradients": """
        AvgPoolGrad BiasAddGrad BlockLSTMGradV2 BroadcastGradientArgs ConcatOffset Conv2DBackpropFilter
        Conv2DBackpropInput CudnnRNNBackpropV3 EluGrad LeakyReluGrad MaxPoolGrad MirrorPadGrad
        ReciprocalGrad Relu6Grad ReluGrad RsqrtGrad SeluGrad SigmoidGrad SoftplusGrad SoftsignGrad
        SqrtGrad StridedSliceGrad TanhGrad TensorStridedSliceUpdate""",
    "lists that loops write": """
        EmptyTensorList TensorListConcatLists TensorListConcatV2 TensorListElementShape
        TensorListFromTensor TensorListGather TensorListGetItem TensorListLength TensorListPopBack
        TensorListPushBack TensorListPushBackBatch TensorListReserve TensorListResize
        TensorListScatterIntoExistingList TensorListScatterV2 TensorListSetItem TensorListSplit
        TensorListStack""",
    "random numbers from a seed": """
        StatelessMultinomial StatelessRandomGetAlg StatelessRandomGetKeyCounter
        StatelessRandomGetKeyCounterAlg StatelessRandomNormal StatelessRandomNormalV2
        StatelessRandomUniform StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2
        StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessShuffle
        StatelessTruncatedNormal StatelessTruncatedNormalV2""",
    "strings": """
        AsString DecodeBase64 EncodeBase64 ReduceJoin RegexFullMatch RegexReplace StaticRegexFullMatch
        StaticRegexReplace StringFormat StringJoin StringLength StringLower StringNGrams StringSplit
        StringSplitV2 StringStrip StringToHashBucketFast StringToNumber StringUpper Substr UnicodeDecode
        UnicodeDecodeWithOffsets UnicodeEncode UnicodeScript UnicodeTranscode UnsortedSegmentJoin""",
    "tables whose contents are in the graph": """
        HashTableV2 InitializeTableV2 LookupTableFindV2 LookupTableImportV2 LookupTableSizeV2""",
    "variables, read and never written": """
        DisableCopyOnRead ReadVariableOp ResourceGather ResourceGatherNd VarHandleOp VariableShape
        VarIsInitializedOp""",
}
ALLOWED = frozenset(operation for family in _FAMILIES.values() for operation in family.split())
"""Core operations that compute: none of them accesses files, hosts, processes or the clock, exposes
uninitialized memory, or changes a variable."""

_RESTORING = frozenset({"RestoreV2", "AssignVariableOp"})
_SAVING = frozenset({"SaveV2", "MergeV2Checkpoints", "ShardedFilename"})
_CALLS = ("StatefulPartitionedCall", "PartitionedCall")


def check_operations(directory: Path) -> None:
    """Refuse a SavedModel whose graphs have operations that are not allowed.

    Raises:
        UserError: names them; or there is no SavedModel.
    """
    if found := forbidden_operations(directory):
        raise UserError(f"{directory}: the graph has operations that are not allowed: {'; '.join(found)}")


def forbidden_operations(directory: Path) -> list[str]:
    """Return a line for each operation of a SavedModel that is not allowed.

    All nodes of all graphs and of all their functions are compared with a list of allowed operations, whether
    a signature uses them or not. The file is parsed; nothing in it is run or loaded.

    Every SavedModel has two functions that access files: one restores its variables when it is loaded, one
    can save them. Their operations are allowed there only, and only if the graph cannot use the function for
    anything else: the saver names it, a single call that nothing depends on runs it, the name of the file
    comes from outside of the graph, and nothing else in the SavedModel refers to it.

    A graph without findings may still need more time or memory than is available.

    Args:
        directory: of the SavedModel.

    Returns:
        a line with operation, node and function each; empty if all operations are allowed.

    Raises:
        UserError: it is not a SavedModel.
    """
    found = [
        f"{name}: some programs read this file instead of {SAVED_MODEL}; it must not exist"
        for name in _OTHER_GRAPHS
        if (directory / name).exists()
    ]
    for graph in read_saved_model(directory).meta_graphs:
        found += _findings(graph)
    return found


def _findings(graph: meta_graph_pb2.MetaGraphDef) -> Iterator[str]:
    library = {function.signature.name for function in graph.graph_def.library.function}
    saver = _saver_functions(graph)
    for name, nodes in _bodies(graph.graph_def):
        place = f"function {name!r}" if name else "the graph"
        for node in nodes:
            if node.op in ALLOWED or node.op in saver.get(name, ()):
                continue
                # An operation may be a function of the library, but must not replace one of TensorFlow.
            if node.op in library and op_def_registry.get(node.op) is None:
                continue
            reason = _reason(node.op)
            yield f"operation {node.op!r} (node {node.name!r} of {place}) {reason}"


def _reason(operation: str) -> str:
    if operation in _RESTORING | _SAVING:
        return "is allowed only in the function that restores or saves the model's own variables"
    if op_def_registry.get(operation) is None:
        return "is not an operation of TensorFlow"
    return "is not allowed in a model"


def _bodies(graph: graph_pb2.GraphDef) -> Iterator[tuple[str, Iterable[node_def_pb2.NodeDef]]]:
    """Yield the nodes of the graph itself, under an empty name, and of each function."""
    yield "", graph.node
    for function in graph.library.function:
        yield function.signature.name, function.node_def


# The functions of the saver


def _saver_functions(graph: meta_graph_pb2.MetaGraphDef) -> dict[str, frozenset[str]]:
    """Return the additional operations that the functions of the saver may have, by function name."""
    saver = graph.saver_def
    functions: dict[str, list[function_pb2.FunctionDef]] = {}
    for function in graph.graph_def.library.function:
        functions.setdefault(function.signature.name, []).append(function)
    functions_named, nodes_named = Counter(_functions_named(graph)), set(_nodes_named(graph))
    allowed = {}
    for tensor, operations in ((saver.restore_op_name, _RESTORING), (saver.save_tensor_name, _SAVING)):
        call = _own_call(graph, node_of(tensor), node_of(saver.filename_tensor_name))
        named = functions.get(call.attr["f"].func.name, ()) if call is not None else ()
        if (
            call is not None
            and len(named) == 1
            and "api_implements" not in named[0].attr  # or another call could be replaced by it
            and functions_named[named[0].signature.name] == 1
            and call.name not in nodes_named
            and (operations is not _RESTORING or _reads_given_file(named[0]))
        ):
            allowed[named[0].signature.name] = operations
    return allowed


def _own_call(graph: meta_graph_pb2.MetaGraphDef, name: str, filename: str) -> node_def_pb2.NodeDef | None:
    """Return the node that calls a function with the file name, which is an argument of the graph."""
    nodes = {node.name: node for node in graph.graph_def.node}
    call, argument = nodes.get(name), nodes.get(filename)
    if call is None or call.op not in _CALLS or argument is None or argument.op != "Placeholder":
        return None
    return call if call.input and call.input[0] in (filename, f"{filename}:0") else None


def _reads_given_file(function: function_pb2.FunctionDef) -> bool:
    """Whether a function restores from the file that its first argument names, and from no other."""
    arguments = function.signature.input_arg
    return bool(arguments) and all(
        bool(node.input) and node.input[0] == arguments[0].name
        for node in function.node_def
        if node.op == "RestoreV2"
    )


def _functions_named(graph: meta_graph_pb2.MetaGraphDef) -> Iterator[str]:
    """Yield everything that may be the name of a function, once for each reference."""
    attributes = [function.attr for function in graph.graph_def.library.function]
    for _, nodes in _bodies(graph.graph_def):
        for node in nodes:
            yield node.op
            attributes.append(node.attr)
    for values in attributes:
        for value in values.values():
            yield from functions_in(value)
            yield from (text.decode(errors="replace") for text in (value.s, *value.list.s))
    yield from functions_of_objects(graph)


def functions_of_objects(graph: meta_graph_pb2.MetaGraphDef) -> Iterator[str]:
    """Yield the functions that gradients and objects of a SavedModel name, rather than nodes."""
    for gradient in graph.graph_def.library.gradient:
        yield from (gradient.function_name, gradient.gradient_func)
    yield from (registered.gradient_func for registered in graph.graph_def.library.registered_gradients)
    yield from graph.object_graph_def.concrete_functions
    for thing in graph.object_graph_def.nodes:
        yield thing.bare_concrete_function.concrete_function_name
        yield from thing.function.concrete_functions


def _nodes_named(graph: meta_graph_pb2.MetaGraphDef) -> Iterator[str]:
    """Yield the nodes of the graph that another node, a signature or the initializer refers to."""
    for node in graph.graph_def.node:
        yield from map(node_of, node.input)
    for signature in graph.signature_def.values():
        yield from (node_of(info.name) for info in (*signature.inputs.values(), *signature.outputs.values()))
    for collection in graph.collection_def.values():
        yield from map(node_of, collection.node_list.value)
