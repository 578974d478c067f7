"""Check that an export's graph uses no files, no network and no Python."""

import os
import re
from collections.abc import Iterable, Iterator

import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from covid_lm.files import read_bytes

# Python; files; records and texts read or written by a dataset; other processes and machines.
FORBIDDEN = re.compile(
    r"(Eager)?PyFunc.*|.*ReadFile.*|.*WriteFile.*|MatchingFiles|.*Reader(V2)?|ReaderRead.*|"
    r"Save(V2|Slices)?|Restore(V2|Slice)?|.*(TFRecord|TextLine|FixedLengthRecord|Sql|LMDB|Csv|CSV)"
    r"Dataset.*|.*GeneratorDataset.*|.*SaveDataset.*|.*LoadDataset.*|.*SnapshotDataset.*|"
    r"CacheDataset.*|.*DataService.*|.*Summary.*|Print.*|Rpc.*|TryRpc|_?(Host)?(Send|Recv)|"
    r"RemoteCall|DebugIdentity.*|Dump.*|InitializeTableFromTextFile.*|Checkpoint.*|MergeV2.*"
)


def forbidden_ops(path: str) -> list[str]:
    """Sorted names of the ops in a SavedModel's signatures that access anything outside the graph.

    Covers everything that the signatures' outputs depend on, with the bodies of all functions: a
    plain listing misses the ops in map, while and cond bodies. (The ops that restore variables
    while the model is loaded belong to no signature.)
    """
    model = SavedModel.FromString(read_bytes(os.path.join(path, "saved_model.pb")))
    ops: set[str] = set()
    for meta_graph in model.meta_graphs:
        outputs = {
            output.name.split(":")[0]
            for signature in meta_graph.signature_def.values()
            for output in signature.outputs.values()
        }
        graph = tf.compat.v1.graph_util.extract_sub_graph(meta_graph.graph_def, sorted(outputs))
        functions = {function.signature.name: function for function in graph.library.function}
        waiting = list(graph.node)
        while waiting:
            node = waiting.pop()
            ops.add(node.op)
            for name in (node.op, *_function_names(node.attr.values())):
                if name in functions:
                    waiting.extend(functions.pop(name).node_def)
    return sorted(op for op in ops if FORBIDDEN.fullmatch(op))


def _function_names(attributes: Iterable[AttrValue]) -> Iterator[str]:
    for attribute in attributes:
        if attribute.HasField("func"):
            yield attribute.func.name
            yield from _function_names(attribute.func.attr.values())
        yield from (function.name for function in attribute.list.func)
