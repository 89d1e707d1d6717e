"""What the API takes and gives: the file's own types, int8, or float32.

`--io int8` takes QUANTIZE and DEQUANTIZE at the edges away, `--io float` puts them there; with neither, the network
stays as it is.
"""

from collections.abc import Sequence
from dataclasses import replace

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Dequantize, Quantize
from tinycompiler.tensor import Array, DType, Tensor

FLOAT_NAME = "{} as float32"


def with_io(graph: Graph, io: str | None) -> Graph:
    """The network with int8 or float32 edges; edges that cannot be changed stay."""
    if io == "int8":
        return _integer_outputs(_integer_inputs(graph))
    if io == "float":
        return _float_edges(graph)
    return graph


def _integer_inputs(graph: Graph) -> Graph:
    inputs: list[str] = []
    gone: list[Node] = []
    for name in graph.inputs:
        readers = graph.readers_of(name)
        alone = len(readers) == 1 and isinstance(readers[0].op, Quantize) and name not in graph.outputs
        inputs.append(readers[0].outputs[0] if alone else name)
        gone += readers if alone else []
    return replace(graph, inputs=tuple(inputs)).with_nodes(n for n in graph.nodes if n not in gone)


def _integer_outputs(graph: Graph) -> Graph:
    outputs: list[str] = []
    gone: list[Node] = []
    for name in graph.outputs:
        writer = graph.writer_of(name)
        if writer is not None and isinstance(writer.op, Dequantize) and not graph.readers_of(name):
            outputs.append(writer.inputs[0])
            gone.append(writer)
        else:
            outputs.append(name)
    return replace(graph, outputs=tuple(outputs)).with_nodes(n for n in graph.nodes if n not in gone)


def _float_edges(graph: Graph) -> Graph:
    first, last, added = [], [], []
    inputs, outputs = list(graph.inputs), list(graph.outputs)
    for i, name in enumerate(graph.inputs):
        given, taken = Tensor(FLOAT_NAME.format(name), graph.tensors[name].shape, DType.FLOAT32), graph.tensors[name]
        if _is_quantized(taken) and Quantize().numerics_why_not((given,), (taken,), graph.numerics) is None:
            inputs[i] = given.name
            first.append(Node(f"quantize input {i}", Quantize(), (given.name,), (name,)))
            added.append(given)
    for i, name in enumerate(graph.outputs):
        if _is_quantized(graph.tensors[name]):
            outputs[i] = FLOAT_NAME.format(name)
            last.append(Node(f"dequantize output {i}", Dequantize(), (name,), (outputs[i],)))
            added.append(Tensor(outputs[i], graph.tensors[name].shape, DType.FLOAT32))
    changed = replace(graph, inputs=tuple(inputs), outputs=tuple(outputs))
    return changed.with_nodes([*first, *graph.nodes, *last], added)


def _is_quantized(tensor: Tensor) -> bool:
    return tensor.dtype in (DType.INT8, DType.UINT8, DType.INT16) and tensor.quantization is not None


def file_inputs(network: Graph, graph: Graph, values: Sequence[Array]) -> list[Array]:
    """What the file's own network gets, for values of the changed network's inputs."""
    result = []
    for name, changed, value in zip(network.inputs, graph.inputs, values, strict=True):
        mine, theirs = graph.tensors[changed], network.tensors[name]
        if name == changed:
            result.append(value)
        elif mine.dtype is DType.FLOAT32:
            result.append(Quantize().evaluate((mine,), (theirs,), (value,), graph.numerics)[0])
        else:
            # quantizing this float gives the value back: the quotient is within an ulp of the integer
            result.append(Dequantize().evaluate((mine,), (theirs,), (value,), graph.numerics)[0])
    return result
