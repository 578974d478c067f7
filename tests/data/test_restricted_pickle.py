import collections
import os
import pathlib
import pickle
import re

import numpy as np
import pytest

from covid_lm.data.restricted_pickle import load_pickle
from covid_lm.errors import InputError
from tests.data.cifar_samples import python2_pickle

ARRAYS = [
    np.arange(600, dtype=np.uint8).reshape(2, 300),
    np.array([[1.5, -2.0]], np.float32),
    np.array([-7, 2**40], np.int64),
    np.array([1, 258], ">u2"),
    np.array([True, False]),
]


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: array.dtype.str)
def test_a_pickle_of_python_2_as_the_standard_library_reads_it(array):
    content = {"data": array, "labels": [3, 1000], "filenames": ["a_s_1.png"], "label": "x" * 300}
    data = python2_pickle(content)
    expected = pickle.loads(data, encoding="bytes")
    loaded = load_pickle(data, "batch")
    assert {key.encode() for key in loaded} == set(expected)
    assert loaded["labels"] == [3, 1000]
    assert loaded["filenames"] == [b"a_s_1.png"]
    assert loaded["label"] == b"x" * 300
    assert loaded["data"].dtype == array.dtype
    assert loaded["data"].dtype.kind == expected[b"data"].dtype.kind
    np.testing.assert_array_equal(loaded["data"], expected[b"data"])
    np.testing.assert_array_equal(loaded["data"], array)


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickles_of_python_3(protocol, order):
    array = np.asarray(np.arange(12, dtype=np.uint8).reshape(3, 4), order=order)
    data = pickle.dumps({b"data": array, b"bytes": b"\xff\x00", "n": [None, "a"]}, protocol)
    loaded = load_pickle(data, "batch")
    np.testing.assert_array_equal(loaded["data"], array)
    assert (loaded["bytes"], loaded["n"]) == (b"\xff\x00", [None, "a"])


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("nested", [lambda call: call, lambda call: {"data": [1, [call]]}])
def test_no_function_is_called(tmp_path, protocol, nested):
    target = tmp_path / "touched"
    calls = {
        "system": Call(os.system, f"touch {target}"),
        "eval": Call(eval, f"open({str(target)!r}, 'w')"),
        "getattr": Call(getattr, "a", "upper"),
        "PosixPath": Call(pathlib.PosixPath, "x"),
        "OrderedDict": collections.OrderedDict(a=1),
        "fromfile": Call(np.fromfile, str(target)),
        "memmap": Call(np.memmap, str(target), "u1", "w+", 0, (1,)),
    }
    for name, call in calls.items():
        data = pickle.dumps(nested(call), protocol)
        with pytest.raises(InputError) as caught:
            load_pickle(data, "x.tar.gz!batch")
        message = str(caught.value)
        assert message.startswith("x.tar.gz!batch: refused, because its pickle asks for '")
        assert re.search(rf"\.{name}'; only arrays, bytes, dicts and lists are read$", message)
    assert not target.exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pickle.dumps({"a": np.array([object], object)[:0]}, 2), "an array of dtype 'O8'"),
        (pickle.dumps({"a": np.zeros(2, "S3")}, 2), "an array of dtype 'S3'"),
        (pickle.dumps({"a": np.zeros(2, [("x", "u1")])}, 2), "an array of dtype 'V1'"),
        (pickle.dumps({"a": {1, 2}}, 4), "a set"),
        (pickle.dumps({"a": 1.5}, 2), "a float"),
        (pickle.dumps({1: 2}, 2), "a int in place of text"),
        (pickle.dumps([1], 2), "a list"),
        (b"", "exhausted"),
        (b"\x80\x02}", "exhausted"),
        (b"not a pickle", "opcode"),
        # An array without its state, a state set on a class, a tuple as a function.
        (b"\x80\x02}U\x01acnumpy\nndarray\n)Rs.", "a Array"),
        (b"\x80\x02}U\x01acnumpy\nndarray\n}U\x05valueK\x01sbs.", "__setstate__"),
        (b"\x80\x02}U\x01a))Rs.", "not callable"),
        # A memo entry that would take 32 GB, a persistent id.
        (b"\x80\x02}r\xff\xff\xff\x7f.", "memo entry 2147483647"),
        (b"\x80\x02U\x01xQ.", "persistent"),
    ],
)
def test_anything_but_plain_data_is_refused(data, reason):
    with pytest.raises(InputError) as caught:
        load_pickle(data, "batch")
    message = str(caught.value)
    assert message.startswith("batch: not a pickled dict of arrays, bytes and lists (")
    assert reason in message
    assert message.endswith("); fetch it again")
    assert "\n" not in message


def test_an_array_with_a_wrong_shape():
    data = python2_pickle({"data": np.zeros([2, 3], np.uint8)})
    with pytest.raises(InputError, match="cannot reshape array of size 6 into shape"):
        load_pickle(data.replace(b"(K\x02K\x03t", b"(K\x02K\x04t"), "batch")
