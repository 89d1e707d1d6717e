"""Operators of a file become nodes, and what is computed from shapes alone becomes constants."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tinycompiler.graph import Graph, Node
from tinycompiler.ops import Numerics, Op
from tinycompiler.readers import larq, sparsity, variables
from tinycompiler.readers.blocker import Blocker, objection
from tinycompiler.readers.file import Operator, Subgraph
from tinycompiler.readers.operators import OPERATORS, VALUES, NotConstant, Refused, Site, wrong_count
from tinycompiler.tensor import DType, Tensor

SHAPE_TYPES = (DType.INT32, DType.INT64)


@dataclass
class Nodes:
    """What came of a subgraph's operators; `passed_over` are tensors that make no sense to look at."""

    main: Subgraph
    numerics: Numerics
    passed_over: frozenset[str]
    tensors: dict[str, Tensor]
    nodes: list[Node] = field(default_factory=list)
    makers: dict[str, Operator] = field(default_factory=dict)
    """The operator of each node, by the node's name."""
    refused: list[Blocker] = field(default_factory=list)
    blocked: set[str] = field(default_factory=set)
    """What refused operators and those that are passed over would compute."""

    def take(self, operator: Operator) -> None:
        """One operator that is known; those of variables are `variables`' matter."""
        if operator.name in variables.OPERATORS:
            return
        if not self.passed_over.isdisjoint((*operator.inputs, *operator.outputs)):
            self.blocked.update(operator.outputs)
            return
        try:
            if operator.name == "SHAPE":
                self.tensors[operator.outputs[0]] = self._shape(operator)
            elif operator.name == "DENSIFY":
                self._densify(operator)
            else:
                self._node(operator)
        except Refused as refusal:
            # a parameter from what is refused may yet become a constant
            if not isinstance(refusal, NotConstant) or self.blocked.isdisjoint(operator.inputs):
                self.refused.append(objection("options", str(refusal), operator, self.main))
            self.blocked.update(operator.outputs)

    def _node(self, operator: Operator) -> None:
        read = larq.read if larq.is_known(operator) else _built_in
        op, inputs = read(operator, self.tensors)
        node = Node(operator.node, sparsity.told(op, operator, self.main), inputs, operator.outputs)
        folded = _computed(node, self.tensors, self.numerics)
        self.tensors |= {t.name: t for t in folded}
        if not folded:
            self.nodes.append(node)
            self.makers[node.name] = operator

    def _densify(self, operator: Operator) -> None:
        """DENSIFY's output as a constant, also where the profile refuses it: what reads it need not say so again."""
        self.tensors[operator.outputs[0]] = sparsity.densified(operator, self.tensors)
        if self.numerics is Numerics.TFLM:
            raise Refused("TensorFlow Lite Micro has no DENSIFY: compile with --numerics litert")

    def _shape(self, operator: Operator) -> Tensor:
        """SHAPE's output as a constant: every shape is known."""
        if len(operator.inputs) != 1 or operator.inputs[0] is None or len(operator.outputs) != 1:
            raise Refused("it has not one input and one output; the file is inconsistent")
        shape, y = self.tensors[operator.inputs[0]].shape, self.tensors[operator.outputs[0]]
        if y.dtype not in SHAPE_TYPES or y.shape != (len(shape),):
            raise Refused(f"output '{y}' is no list of {len(shape)} sizes in int32 or int64; the file is inconsistent")
        return replace(y, data=np.array(shape, y.dtype.numpy))


def _built_in(operator: Operator, tensors: Mapping[str, Tensor]) -> tuple[Op, tuple[str, ...]]:
    """The operator and the names of its inputs."""
    miscounted = wrong_count(operator)
    if miscounted:
        raise Refused(miscounted)
    op = OPERATORS[operator.name](Site(operator, tensors))
    inputs = tuple(name for name in operator.inputs if name is not None)
    if operator.name in VALUES:
        inputs = tuple(inputs[i] for i in VALUES[operator.name] if i < len(inputs))
    return op, inputs


def _computed(node: Node, tensors: Mapping[str, Tensor], numerics: Numerics) -> list[Tensor]:
    """The outputs of a node that computes with shapes, as constants; none for any other node.

    Later operators may need them as parameters, which is why this cannot wait for `fold_constants`.
    """
    inputs, outputs = [tensors[n] for n in node.inputs], [tensors[n] for n in node.outputs]
    if not all(t.dtype in SHAPE_TYPES and t.is_constant for t in inputs) or not inputs:
        return []
    if any(t.dtype not in SHAPE_TYPES for t in outputs):
        return []
    graph = Graph("", (), (), (), tensors, numerics)
    if graph.why_not(node) is not None:
        return []
    values = node.op.evaluate(inputs, outputs, [t.values for t in inputs], numerics)
    return [replace(t, data=v) for t, v in zip(outputs, values, strict=True)]
