"""The recurrent kernels that a SavedModel runs on hosts with and without a GPU.

No GPU is needed. Before a graph first runs, TensorFlow's optimizer Grappler rewrites it for the devices of
the host. Here Grappler rewrites it for two described hosts, one with a GPU and one without, and the kernels
of the rewritten graphs are counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.core.protobuf import config_pb2, device_properties_pb2, meta_graph_pb2
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.grappler.cluster import Cluster

from app.artifacts.saved_model import Library, called, node_of, read_saved_model
from data.errors import UserError

CUDNN = "CudnnRNNV3"
BLOCK = "BlockLSTMV2"
LOOP = "loop"
"""A loop over time steps, of a recurrent layer or of a decoder."""

_COUNTED = {
    CUDNN: CUDNN,
    BLOCK: BLOCK,
    "While": LOOP,
    "StatelessWhile": LOOP,
    "LoopCond": LOOP,  # Grappler lowers a While; each loop has one LoopCond
}
_SWAPPABLE = "swappable"
_HOST = "/job:localhost/replica:0/task:0/device:"
_CPU, _GPU = f"{_HOST}CPU:0", f"{_HOST}GPU:0"
_DEVICES = {
    "CPU": device_properties_pb2.NamedDevice(
        name=_CPU,
        properties=device_properties_pb2.DeviceProperties(
            type="CPU", vendor="any", frequency=2000, num_cores=2
        ),
    ),
    "GPU": device_properties_pb2.NamedDevice(
        name=_GPU,
        properties=device_properties_pb2.DeviceProperties(
            type="GPU",
            vendor="NVIDIA",
            frequency=1500,
            num_cores=80,
            environment={"architecture": "8.0", "cuda": "12050", "cudnn": "90300"},
        ),
    ),
}


@dataclass(frozen=True)
class SignatureKernels:
    """Kernels that a signature calls; a call site counts once for each path that leads to it."""

    swappable: int
    """cuDNN kernels in the saved graph: those in GPU implementations of called functions that have a CPU
    implementation as well."""
    cpu: Mapping[str, int]
    """Number of calls of `CudnnRNNV3`, `BlockLSTMV2` and `loop` on a host without a GPU."""
    gpu: Mapping[str, int]
    """The same on a host with a GPU."""


def kernels(directory: Path) -> dict[str, SignatureKernels]:
    """Return the recurrent kernels of each signature of a SavedModel, on both kinds of hosts.

    Two things are assumed. On a host with a GPU, TensorFlow places the call of a swappable function on the
    GPU, as its placer does unless a part of the function needs the CPU. And hosts run the optimizer of the
    TensorFlow version that is installed here. All branches of a condition count. Loops of recurrent layers
    and of decoders count; calls inside a loop count once. Of a recursive function only the first call counts.
    Graphs that select by the operation `DeviceIndex`, which exports of textrnn do not have, count with all
    branches.

    Args:
        directory: of the SavedModel; nothing in it is run.

    Returns:
        kernels by the name of the signature.

    Raises:
        UserError: the directory has no SavedModel that can be served, or its graph is not valid.
    """
    graph = _served(directory)
    found = {}
    for name in sorted(graph.signature_def):
        if name.startswith("__"):  # initializer
            continue
        outputs = [output.name for output in graph.signature_def[name].outputs.values()]
        try:
            saved, cpu, gpu = (
                _count(rewritten, outputs)
                for rewritten in (graph.graph_def, *(_optimized(graph, name, host) for host in _DEVICES))
            )
        except (tf.errors.OpError, ValueError, TypeError, KeyError, RecursionError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{directory}: the graph of signature {name!r} is not valid: {reason}") from None
        on_cpu, on_gpu = ({kernel: count[kernel] for kernel in (CUDNN, BLOCK, LOOP)} for count in (cpu, gpu))
        found[name] = SignatureKernels(saved[_SWAPPABLE], on_cpu, on_gpu)
    return found


def portability_problem(found: SignatureKernels, expected: int | None = None) -> str | None:
    """Return why a signature is slow or fails on one kind of host; None if it runs well on both.

    Args:
        found: its kernels.
        expected: number of recurrent layers, counted per direction, that cuDNN has a kernel for; a signature
            may run them more than once. 0: none, without recurrence or with cells that cuDNN lacks. None:
            unknown; then a signature that has only loops is reported.
    """
    if found.cpu.get(CUDNN):
        return f"calls {CUDNN} {_times(found.cpu[CUDNN])} on a host without a GPU, where that fails"
    if found.gpu.get(CUDNN, 0) != found.swappable:
        return (
            f"calls {CUDNN} {_times(found.gpu.get(CUDNN, 0))} on a host with a GPU: expected all "
            f"{found.swappable} of its GPU implementations"
        )
    if expected is not None and not _is_multiple(found.swappable, expected):
        return (
            f"has {found.swappable} {CUDNN} for a host with a GPU; expected {expected}, one for each layer "
            "and direction, or several times as many"
        )
    if expected is None and not found.swappable and found.gpu.get(LOOP):
        return f"runs a loop on every host, {_times(found.gpu[LOOP])}, and cuDNN on none"
    return None


def _is_multiple(number: int, of: int) -> bool:
    return number > 0 and number % of == 0 if of else number == 0


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _served(directory: Path) -> meta_graph_pb2.MetaGraphDef:
    for graph in read_saved_model(directory).meta_graphs:
        if set(graph.meta_info_def.tags) == {tf.saved_model.SERVING}:
            return graph
    raise UserError(
        f"{directory}: its saved_model.pb has no graph to serve (none with the tag 'serve' alone)"
    )


def _optimized(graph: meta_graph_pb2.MetaGraphDef, signature: str, host: str) -> graph_pb2.GraphDef:
    """Return the graph of a signature as optimized on a host of this kind."""
    outputs = [output.name for output in graph.signature_def[signature].outputs.values()]
    pruned = meta_graph_pb2.MetaGraphDef(meta_info_def=graph.meta_info_def)
    pruned.signature_def[signature].CopyFrom(graph.signature_def[signature])
    pruned.graph_def.versions.CopyFrom(graph.graph_def.versions)
    pruned.graph_def.library.CopyFrom(graph.graph_def.library)
    pruned.graph_def.node.extend(_reachable(graph.graph_def.node, outputs))
    library = {function.signature.name: function for function in pruned.graph_def.library.function}
    swappable = _swappable(library)
    for node in [
        *pruned.graph_def.node,
        *(node for name in library if name not in swappable for node in library[name].node_def),
    ]:
        on_gpu = host == "GPU" and any(name in swappable for name in called(node, library))
        node.device = _GPU if on_gpu else _CPU
    devices = [_DEVICES["CPU"]] if host == "CPU" else [_DEVICES["CPU"], _DEVICES["GPU"]]
    config = config_pb2.ConfigProto()
    rewriting = config.graph_options.rewrite_options
    rewriting.min_graph_nodes = -1  # by default a graph of a few nodes is left as it is
    rewriting.fail_on_optimizer_errors = True
    return tf_optimizer.OptimizeGraph(config, pruned, verbose=False, cluster=Cluster(devices=devices))


def _count(graph: graph_pb2.GraphDef, outputs: Iterable[str]) -> Counter[str]:
    """Count kernels and swappable calls on all paths to the outputs."""
    library = {function.signature.name: function for function in graph.library.function}
    swappable = _swappable(library)
    inside: dict[str, Counter[str]] = {}

    def of_function(name: str) -> Counter[str]:
        if name not in inside:
            inside[name] = Counter()  # what a function that calls itself finds there
            function = library[name]
            ends = [*function.ret.values(), *function.control_ret.values()]
            inside[name] = of_nodes(_reachable(function.node_def, ends))
        return inside[name]

    def of_nodes(nodes: list[node_def_pb2.NodeDef]) -> Counter[str]:
        count: Counter[str] = Counter()
        for node in nodes:
            if node.op in _COUNTED:
                count[_COUNTED[node.op]] += 1
            for name in called(node, library):
                if name in swappable:
                    count[_SWAPPABLE] += of_function(swappable[name])[CUDNN]
                count.update(of_function(name))
        return count

    return of_nodes(_reachable(graph.node, outputs))


def _swappable(library: Library) -> dict[str, str]:
    """Return the functions that TensorFlow replaces on another device, with their GPU implementations."""
    implementations: dict[bytes, dict[bytes, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, function in library.items():
        if "api_implements" in function.attr:  # asking for what is not there would write it there
            device = function.attr["api_preferred_device"].s
            implementations[function.attr["api_implements"].s][device].append(name)
    return {
        name: devices[b"GPU"][0]
        for devices in implementations.values()
        if {b"CPU", b"GPU"} <= devices.keys()
        for names in devices.values()
        for name in names
    }


def _reachable(nodes: Iterable[node_def_pb2.NodeDef], ends: Iterable[str]) -> list[node_def_pb2.NodeDef]:
    """Return the nodes that some tensors depend on, through control inputs too, in graph order."""
    by_name = {node.name: node for node in nodes}
    needed: set[str] = set()
    waiting = [node_of(end) for end in ends]
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in needed:  # the arguments of a function are no nodes
            needed.add(name)
            waiting += (node_of(tensor) for tensor in by_name[name].input)
    return [node for name, node in by_name.items() if name in needed]
