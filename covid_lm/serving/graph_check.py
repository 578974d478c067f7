"""Proof that an export's graph stays inside itself: no files, no network, no Python."""

import os
import re
from collections.abc import Iterator

from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

# Python; files; records and texts read or written by a dataset; other processes and machines.
FORBIDDEN = re.compile(
    r"(Eager)?PyFunc.*|.*ReadFile.*|.*WriteFile.*|MatchingFiles|.*Reader(V2)?|ReaderRead.*|"
    r"Save(V2|Slices)?|Restore(V2|Slice)?|.*(TFRecord|TextLine|FixedLengthRecord|Sql|LMDB|Csv|CSV)"
    r"Dataset.*|.*GeneratorDataset.*|.*SaveDataset.*|.*LoadDataset.*|.*SnapshotDataset.*|"
    r"CacheDataset.*|.*DataService.*|.*Summary.*|Print.*|Rpc.*|TryRpc|_?(Host)?(Send|Recv)|"
    r"RemoteCall|DebugIdentity.*|Dump.*|InitializeTableFromTextFile.*|Checkpoint.*|MergeV2.*"
)


def forbidden_ops(path: str) -> list[str]:
    """The ops in a SavedModel's signatures that touch anything outside the graph.

    Everything that a signature's outputs depend on is walked, with the bodies of the functions that
    its nodes name, however deep: map, while and cond bodies hide ops from a plain listing. (What
    loading itself needs, the restoring of variables, no signature depends on.)

    Args:
        path: directory of a SavedModel.

    Returns:
        Op names, sorted; none for a good export.
    """
    model = SavedModel()
    with open(os.path.join(path, "saved_model.pb"), "rb") as file:
        model.ParseFromString(file.read())
    return sorted({op for op in signature_ops(model) if FORBIDDEN.fullmatch(op)})


def signature_ops(model: SavedModel) -> set[str]:
    """All op names that the signatures of a SavedModel can run."""
    ops: set[str] = set()
    for meta_graph in model.meta_graphs:
        nodes = {node.name: node for node in meta_graph.graph_def.node}
        functions = {f.signature.name: f for f in meta_graph.graph_def.library.function}
        waiting = [
            nodes[_node_name(output.name)]
            for signature in meta_graph.signature_def.values()
            for output in signature.outputs.values()
        ]
        seen_nodes: set[str] = set()
        seen_functions: set[str] = set()
        while waiting:
            node = waiting.pop()
            ops.add(node.op)
            for name in (node.op, *_function_names(node.attr.values())):
                if name in functions and name not in seen_functions:
                    seen_functions.add(name)
                    waiting.extend(functions[name].node_def)
            waiting.extend(_unseen_inputs(node, nodes, seen_nodes))
    return ops


def _unseen_inputs(node: NodeDef, nodes: dict[str, NodeDef], seen: set[str]) -> Iterator[NodeDef]:
    for tensor_name in node.input:
        name = _node_name(tensor_name)
        # Inside a function body, whose nodes are all walked, names mean that body's nodes.
        if name in nodes and name not in seen:
            seen.add(name)
            yield nodes[name]


def _node_name(tensor_name: str) -> str:
    return tensor_name.removeprefix("^").split(":")[0]


def _function_names(attributes: Iterator[AttrValue]) -> Iterator[str]:
    for attribute in attributes:
        if attribute.HasField("func"):
            yield attribute.func.name
            yield from _function_names(attribute.func.attr.values())
        yield from (function.name for function in attribute.list.func)
