"""TensorFlow Serving's JSON: what `json_tensor_test.cc` says of it, and what text models need besides."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from app.serving.errors import Code, Refused
from app.serving.servables import TensorInfo
from app.serving.tensors import (
    MOST_SHOWN,
    parse,
    read_examples,
    read_tensors,
    signature_name,
    string_feature,
    write_classes,
    write_error,
    write_tensors,
)

FLOAT_MAX, DOUBLE_MAX = float(np.finfo(np.float32).max), float(np.finfo(np.float64).max)


def infos(**dtypes: tf.DType) -> dict[str, TensorInfo]:
    """Return inputs of the given types; shapes play no part here."""
    return {name: TensorInfo(dtype, (None,), f"{name}:0") for name, dtype in dtypes.items()}


def read(text: str, /, **dtypes: tf.DType) -> dict[str, Any]:
    """Return the arrays of a request as lists."""
    arrays, _ = read_tensors(parse(text.encode()), infos(**dtypes))
    for name, array in arrays.items():
        assert array.dtype == (object if dtypes[name] == tf.string else dtypes[name].as_numpy_dtype)
    return {name: array.tolist() for name, array in arrays.items()}


def refusal(text: str, /, **dtypes: tf.DType) -> str:
    """Return the message with which a request is refused as invalid."""
    with pytest.raises(Refused) as caught:
        read_tensors(parse(text.encode()), infos(**dtypes))
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value.message


class TestRows:
    def test_rows_of_a_single_input_need_no_name(self) -> None:
        assert read('{"instances": [[1,2],[3,4],[5,6]]}', a=tf.int32) == {"a": [[1, 2], [3, 4], [5, 6]]}

    def test_strings_are_utf8(self) -> None:
        assert read('{"instances": ["f\\u00fcnf", "日本", "a\\u0000"]}', a=tf.string) == {
            "a": ["fünf".encode(), "日本".encode(), b"a\x00"]
        }

    def test_whole_numbers_and_decimals_mix_in_floats(self) -> None:
        text = '{"instances": [1, 2.0, 3, 4, 5.003, 0.007, 0.0]}'
        assert read(text, a=tf.float64) == {"a": [1, 2.0, 3, 4, 5.003, 0.007, 0.0]}

    def test_base64_values_and_lists_of_them(self) -> None:
        text = '{"instances": [{"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}]}'
        assert read(text, a=tf.string) == {"a": [b"hello", b"world"]}
        text = '{"instances": [[{"b64": "aGVsbG8="}], [{"b64": "d29ybGQ="}]]}'
        assert read(text, a=tf.string) == {"a": [[b"hello"], [b"world"]]}

    def test_base64_may_lack_its_padding_and_hold_blanks(self) -> None:
        text = '{"instances": [{"b64": "aGVs bG8"}, {"b64": ""}, {"b64": "AAE="}, "b64"]}'
        assert read(text, a=tf.string) == {"a": [b"hello", b"", b"\x00\x01", b"b64"]}

    def test_a_single_input_may_be_named_all_the_same(self) -> None:
        text = '{"instances": [{"a": [[{"b64": "aGVsbG8="}], [{"b64": "d29ybGQ="}]]}]}'
        assert read(text, a=tf.string) == {"a": [[[b"hello"], [b"world"]]]}

    def test_several_inputs_are_named_in_each_row(self) -> None:
        text = """{"instances": [
            {"ints": [[1,2],[3,4]], "strings": ["foo", "bar"], "floats": [1.0, NaN], "doubles": [Infinity]},
            {"strings": ["baz", "bat"], "ints": [[7,8],[9,0]], "floats": [2.0, -Infinity], "doubles": [2.0]}
        ]}"""
        arrays = read(text, ints=tf.int32, strings=tf.string, floats=tf.float32, doubles=tf.float64)
        assert arrays["ints"] == [[[1, 2], [3, 4]], [[7, 8], [9, 0]]]
        assert arrays["strings"] == [[b"foo", b"bar"], [b"baz", b"bat"]]
        assert math.isnan(arrays["floats"][0][1])
        assert arrays["floats"][1] == [2.0, -math.inf]
        assert arrays["doubles"] == [[math.inf], [2.0]]

    def test_a_row_may_be_empty(self) -> None:
        arrays, _ = read_tensors(parse(b'{"instances": [[], []]}'), infos(a=tf.string))
        assert arrays["a"].shape == (2, 0)

    def test_the_format_is_told(self) -> None:
        assert read_tensors(parse(b'{"instances": [1]}'), infos(a=tf.int32))[1] is True
        assert read_tensors(parse(b'{"inputs": [1]}'), infos(a=tf.int32))[1] is False


class TestColumns:
    def test_a_single_input_named_or_not(self) -> None:
        expected = {"a": [[[1, 2], [3, 4], [5, 6]]]}
        assert read('{"inputs": {"a": [[[1,2],[3,4],[5,6]]]}}', a=tf.int32) == expected
        assert read('{"inputs": [[[1,2],[3,4],[5,6]]]}', a=tf.int32) == expected

    def test_inputs_may_differ_in_size_and_be_scalars(self) -> None:
        text = '{"inputs": {"text": ["a", "b", "c"], "width": 4, "raw": {"b64": "aGVsbG8="}, "other": []}}'
        arrays = read(text, text=tf.string, width=tf.int32, raw=tf.string)
        assert arrays == {"text": [b"a", b"b", b"c"], "width": 4, "raw": b"hello"}

    def test_a_scalar_stands_for_a_single_input(self) -> None:
        assert read('{"inputs": "text"}', a=tf.string) == {"a": b"text"}
        assert read('{"inputs": {"b64": "aGVsbG8="}}', a=tf.string) == {"a": b"hello"}

    def test_lists_may_be_empty(self) -> None:
        arrays, _ = read_tensors(parse(b'{"inputs": [[], [], []]}'), infos(a=tf.float32))
        assert arrays["a"].shape == (3, 0)


INVALID_ROWS: list[tuple[str, dict[str, tf.DType], str]] = [
    ('{"instances": [[1,2],[3,4],[5,6,7]]}', {"a": tf.int32}, "Expecting tensor size: 2 but got: 3"),
    ('{"instances": [[1,2],[3,4],[[5,6]]]}', {"a": tf.int32}, "Expecting shape [2] but got: [1,2]"),
    ('{"instances": [1, [1]]}', {"a": tf.int32}, "Expecting shape [] but got: [1]"),
    (
        '{"instances": [[1,2],["a","b"]]}',
        {"a": tf.int32},
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
        'JSON Value: "a" Type: String is not of expected type: int32',
    ),
    ('{"instances": [[1,[2]]]}', {"a": tf.int32}, "Encountered list at unexpected level: 1 expected < 1"),
    (
        '{"instances": [[[1],2]]}',
        {"a": tf.int32},
        "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
    ),
    (
        '{"instances": [[[1,2],[3]]]}',
        {"a": tf.int32},
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    (
        '{"instances": [1, 2]}',
        {"a": tf.int32, "b": tf.int32},
        "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
        "tensorinfo_map",
    ),
    (
        '{"instances": [{"a": 1}, [1, 20]]}',
        {"a": tf.int32},
        "Expecting object but got list at item 1 of input list",
    ),
    (
        '{"instances": [["x"], {"a": ["x"]}]}',
        {"a": tf.string},
        "Expecting value/list but got object at item 1 of input list",
    ),
    (
        '{"instances": [{"a": 1, "c": 2}]}',
        {"a": tf.int32, "b": tf.int32},
        "Failed to process element: 0 key: c of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does "
        "not have named input: c",
    ),
    (
        '{"instances": [{"a": 1}]}',
        {"b": tf.int32, "a": tf.int32},
        "Failed to process element: 0 of 'instances' list. JSON object: {\n"
        '    "a": 1\n} keys must be equal to: a,b',
    ),
    ('{"instances": [{}]}', {"a": tf.int32}, "JSON object: {} keys must be equal to: a"),
    ('{"instances": "text"}', {"a": tf.string}, "Excepting 'instances' to be an list/array"),
    ('{"instances": {"a": 1}}', {"a": tf.string}, "Excepting 'instances' to be an list/array"),
    ('{"instances": []}', {"a": tf.string}, "No values in 'instances' array"),
    ('{"instances": [1], "inputs": [1]}', {"a": tf.int32}, "Not formatted correctly expecting only one of"),
    ("{}", {"a": tf.int32}, "Missing 'inputs' or 'instances' key"),
    ('{"instances": [1]}', {}, "Failed to get input map for signature: DEFAULT"),
    (
        '{"inputs": [1]}',
        {"a": tf.int32, "b": tf.int32},
        "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
        "tensorinfo_map",
    ),
    ('{"inputs": {"a": 1}}', {"a": tf.int32, "b": tf.int32}, "Missing named input: b in 'inputs' object."),
    ('{"inputs": {"b": 1}}', {"a": tf.int32}, "Missing named input: a in 'inputs' object."),
]


@pytest.mark.parametrize(("text", "dtypes", "message"), INVALID_ROWS)
def test_invalid_requests(text: str, dtypes: dict[str, tf.DType], message: str) -> None:
    assert message in refusal(text, **dtypes)


MISTYPED = [
    (tf.string, "1", "Number", "string"),
    (tf.string, "1.5", "Number", "string"),
    (tf.string, "null", "Null", "string"),
    (tf.string, "true", "True", "string"),
    (tf.int32, "1.0", "Number", "int32"),
    (tf.int32, "true", "True", "int32"),
    (tf.int32, "2147483648", "Number", "int32"),
    (tf.int32, "-2147483649", "Number", "int32"),
    (tf.int32, "null", "Null", "int32"),
    (tf.int32, '{"b64": "AAAA"}', "Object", "int32"),
    (tf.int64, "9223372036854775808", "Number", "int64"),
    (tf.uint8, "256", "Number", "uint8"),
    (tf.uint64, "-1", "Number", "uint64"),
    (tf.bool, "1", "Number", "bool"),
    (tf.bool, '"true"', "String", "bool"),
    (tf.float32, '"1"', "String", "float"),
    (tf.float32, "false", "False", "float"),
    (tf.float64, "null", "Null", "double"),
]


@pytest.mark.parametrize(("dtype", "value", "kind", "expected"), MISTYPED)
def test_values_of_another_type(dtype: tf.DType, value: str, kind: str, expected: str) -> None:
    message = refusal(f'{{"inputs": {{"a": [{value}]}}}}', a=dtype)
    assert message.endswith(f"Type: {kind} is not of expected type: {expected}")


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (tf.int32, "2147483647"),
        (tf.int32, "-2147483648"),
        (tf.int64, "9223372036854775807"),
        (tf.uint64, "18446744073709551615"),
        (tf.float32, "16777215"),
        (tf.float64, "9007199254740991"),
        (tf.float32, "100000000000000000000"),
        (tf.float32, repr(FLOAT_MAX)),
        (tf.float64, repr(-DOUBLE_MAX)),
        (tf.float64, "1e-999"),
        (tf.bool, "true"),
    ],
)
def test_the_last_value_that_fits(dtype: tf.DType, value: str) -> None:
    expected = np.array(json.loads(value), dtype.as_numpy_dtype).tolist()
    assert read(f'{{"inputs": [{value}]}}', a=dtype) == {"a": [expected]}


@pytest.mark.parametrize(
    ("dtype", "value", "target"),
    [
        (tf.float32, repr(DOUBLE_MAX), "float"),
        (tf.float32, "-1e39", "float"),
        (tf.float32, "16777217", "float"),
        (tf.float32, "-16777216", "float"),
        (tf.float32, "1" + 40 * "0", "float"),
        (tf.float64, "9007199254740993", "double"),
        (tf.float64, "18446744073709551615", "double"),
    ],
)
def test_numbers_that_a_float_cannot_hold(dtype: tf.DType, value: str, target: str) -> None:
    message = refusal(f'{{"instances": [{value}]}}', a=dtype)
    assert message.endswith(f"to {target} without loss of precision.")


def test_a_type_that_json_has_nothing_for() -> None:
    with pytest.raises(Refused, match="Conversion of JSON Value: 1 to type: complex64") as caught:
        read_tensors(parse(b'{"inputs": [1]}'), infos(a=tf.complex64))
    assert caught.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize("value", ['{"b64": 1}', '{"b64": "AAAA", "c": 1}', '{"b65": "AAAA"}', "{}"])
def test_objects_that_are_not_base64(value: str) -> None:
    message = refusal(f'{{"inputs": {{"a": [{value}]}}}}', a=tf.string)
    assert message.endswith("not formatted correctly for base64 data")


@pytest.mark.parametrize("value", ["A", "AAAAA", "AA=", "A===", "AA==AA", "$$$$", "-_-_", "é", "\\ud800"])
def test_base64_that_is_none(value: str) -> None:
    assert refusal(f'{{"inputs": [{{"b64": "{value}"}}]}}', a=tf.string) == "Unable to base64 decode"


INVALID_JSON = [
    (b"", "JSON Parse error: The document is empty"),
    (b" \n ", "JSON Parse error: The document is empty. at offset: 3"),
    (b"instances = [1, 2]", "JSON Parse error: Invalid value. at offset: 0"),
    (b"[1, 2", "JSON Parse error: Missing a comma or ] after an array element. at offset: 5"),
    (b'{"a": "]}" 1}', "JSON Parse error: Missing a comma or } after an object member. at offset: 11"),
    (b'{"a": [{}, []] 1}', "Missing a comma or } after an object member. at offset: 15"),
    (b'{"a": [[1 2]]}', "Missing a comma or ] after an array element. at offset: 10"),
    (b'{"a" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 5"),
    (b"{1: 2}", "JSON Parse error: Missing a name for object member. at offset: 1"),
    (b"{'a': 2}", "JSON Parse error: Missing a name for object member. at offset: 1"),
    (b'{"a": 1} x', "JSON Parse error: The document root must not be followed by other values. at offset: 9"),
    (b'{"a": "b', "JSON Parse error: Missing a closing quotation mark in string. at offset: 6"),
    (b'{"a": "\\x"}', "JSON Parse error: Invalid escape character in string. at offset: 7"),
    (b'{"a": "\\u12x4"}', "JSON Parse error: Incorrect hex digit after \\u escape in string."),
    (b'{"a": "\n"}', "JSON Parse error: Invalid encoding in string. at offset: 7"),
    (b'{"a": "\xff"}', "JSON Parse error: Invalid encoding in string. at offset: 7"),
    (b'{"a": "\xed\xa0\x80"}', "JSON Parse error: Invalid encoding in string. at offset: 7"),
    (b'{"a": "\xc3\xbc" 1}', "JSON Parse error: Missing a comma or } after an object member. at offset: 11"),
    ('{"a": 1}'.encode("utf-16"), "JSON Parse error: Invalid encoding in string. at offset: 0"),
    (b'{"a": 1e999}', "JSON Parse error: Number too big to be stored in double."),
    (b'{"a": ' + 5000 * b"1" + b"}", "JSON Parse error: Number too big to be stored in double."),
    (b'{"a": 1, "b": 2, "a": 3}', 'JSON Parse error: Name "a" stands more than once in an object'),
    (b'{"a": [{"b": 1, "b": 1}]}', 'JSON Parse error: Name "b" stands more than once in an object'),
    (100_000 * b"[", "JSON Parse error: Nested too deeply"),
    (100_000 * b'{"a":', "JSON Parse error: Nested too deeply"),
    (b"[1]", "JSON Value: [\n    1\n] Is not object"),
    (b'"text"', 'JSON Value: "text" Is not object'),
    (b"null", "JSON Value: null Is not object"),
    (b"NaN", "JSON Value: NaN Is not object"),
]


@pytest.mark.parametrize(("body", "message"), INVALID_JSON, ids=range(len(INVALID_JSON)))
def test_bodies_that_are_no_json(body: bytes, message: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(body)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message.startswith(message) or caught.value.message.endswith(message)


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse(b'\xef\xbb\xbf{"a": "\xc3\xbc"}') == {"a": "ü"}


def test_integers_too_large_for_any_float() -> None:
    assert "Number too big" in refusal(f'{{"inputs": [{10**400}]}}', a=tf.float32)
    assert "is not of expected type: int32" in refusal(f'{{"inputs": [{10**400}]}}', a=tf.int32)


def test_half_of_a_surrogate_pair() -> None:
    message = refusal('{"inputs": ["\\ud800"]}', a=tf.string)
    assert message == "JSON Parse error: The surrogate pair in string is invalid."
    assert read('{"inputs": ["\\ud83d\\ude00"]}', a=tf.string) == {"a": ["😀".encode()]}


@pytest.mark.parametrize("depth", [65, 500, 900])
def test_more_dimensions_than_an_array_can_have(depth: int) -> None:
    text = f'{{"inputs": {depth * "["}1{depth * "]"}}}'
    assert "Encountered list at unexpected level" in refusal(text, a=tf.int32)


def test_an_error_repeats_no_more_than_the_start_of_a_value() -> None:
    message = refusal(json.dumps({"instances": 100_000 * "x"}), a=tf.string)
    assert "xxx" in message
    assert len(message) < MOST_SHOWN + 100
    message = refusal(json.dumps({"instances": {"a": 100_000 * [1]}}), a=tf.string)
    assert message.startswith('JSON Value: {\n    "instances": {\n        "a": [\n            1,\n')
    assert len(message) < MOST_SHOWN + 100


def test_the_name_of_the_signature() -> None:
    assert signature_name({"signature_name": "beam"}) == "beam"
    assert signature_name({"instances": []}) == ""
    with pytest.raises(Refused, match=r"'signature_name' key must be a string value\."):
        signature_name({"signature_name": 5})


def strings(*values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array as TensorFlow gives strings."""
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


def written(outputs: dict[str, np.ndarray], *, rows: bool) -> Any:
    """Return the answer of a predict request, parsed."""
    return json.loads(write_tensors(outputs, rows=rows))


class TestAnswers:
    def test_a_single_output_drops_its_name(self) -> None:
        outputs = {"ints": np.arange(12, dtype=np.int32).reshape(2, 3, 2)}
        values = [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]
        assert written(outputs, rows=True) == {"predictions": values}
        assert written(outputs, rows=False) == {"outputs": values}

    def test_several_outputs_are_named_in_each_row_or_once(self) -> None:
        outputs = {
            "scores": np.array([8.0, 9.0]),
            "floats": np.array([[1.0], [2.0]], np.float32),
            "strings": strings(b"foo", b"bar", b"baz", b"bat", shape=(2, 2)),
            "raw_bytes": strings(b"hello", b"world", shape=(2,)),
            "ended": np.array([True, False]),
        }
        hello, world = {"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}
        assert written(outputs, rows=True) == {
            "predictions": [
                {"scores": 8, "floats": [1], "strings": ["foo", "bar"], "raw_bytes": hello, "ended": True},
                {"scores": 9, "floats": [2], "strings": ["baz", "bat"], "raw_bytes": world, "ended": False},
            ]
        }
        assert written(outputs, rows=False) == {
            "outputs": {
                "scores": [8, 9],
                "floats": [[1], [2]],
                "strings": [["foo", "bar"], ["baz", "bat"]],
                "raw_bytes": [hello, world],
                "ended": [True, False],
            }
        }

    def test_outputs_are_sorted_by_name(self) -> None:
        outputs = {"b": np.array([1]), "a": np.array([2])}
        assert write_tensors(outputs, rows=True) == b'{"predictions": [{"a": 2, "b": 1}]}'
        assert write_tensors(outputs, rows=False) == b'{"outputs": {"a": [2], "b": [1]}}'

    def test_a_scalar_in_the_column_format(self) -> None:
        assert written({"a": np.array(4)}, rows=False) == {"outputs": 4}
        assert written({"a": strings(b"x", shape=())}, rows=False) == {"outputs": "x"}

    def test_text_is_utf8_and_what_is_not_is_base64(self) -> None:
        body = write_tensors({"a": strings("fünf".encode(), b"\xff\x00", shape=(2,))}, rows=True)
        assert "fünf".encode() in body
        assert json.loads(body) == {"predictions": ["fünf", {"b64": "/wA="}]}

    def test_floats_have_six_digits_where_these_are_the_number_and_nine_otherwise(self) -> None:
        floats = np.array(
            [[9000000, 999999, 0.5], [0.0003, 0.1, 1 / 3], [555557.5, 16777216, 2e-45]], np.float32
        )
        body = write_tensors({"a": floats}, rows=True)
        assert body == (
            b'{"predictions": [[9000000.0, 999999.0, 0.5], [0.0003, 0.1, 0.333333343], '
            b"[555557.5, 16777216.0, 1.4013e-45]]}"
        )

    def test_floats_that_are_not_finite(self) -> None:
        body = write_tensors({"a": np.array([[np.nan, np.inf], [3, -np.inf]], np.float32)}, rows=True)
        assert body == b'{"predictions": [[NaN, Infinity], [3.0, -Infinity]]}'

    def test_half_floats(self) -> None:
        for dtype in (np.float16, tf.bfloat16.as_numpy_dtype):
            assert written({"a": np.array([0.5, -2], dtype)}, rows=True) == {"predictions": [0.5, -2.0]}

    def test_no_rows_at_all(self) -> None:
        outputs = {"a": np.zeros((0, 1, 2), np.int32), "b": strings(shape=(0, 3))}
        assert written(outputs, rows=True) == {"predictions": []}
        assert written({"a": outputs["a"]}, rows=True) == {"predictions": []}

    @pytest.mark.parametrize(
        ("outputs", "message"),
        [
            ({"a": np.zeros(2), "b": np.zeros((3, 2))}, "Tensor name: b has inconsistent batch size: 3"),
            (
                {"a": np.zeros(0), "b": np.zeros(1)},
                "Tensor name: b has inconsistent batch size: 1 expecting: 0",
            ),
            ({"a": np.array(1)}, "Tensor name: a has no shape information "),
            ({"a": np.zeros(2, np.complex64)}, "Failed to write JSON value for tensor type: complex64"),
        ],
    )
    def test_outputs_that_cannot_be_written(self, outputs: dict[str, np.ndarray], message: str) -> None:
        with pytest.raises(Refused, match=message):
            write_tensors(outputs, rows=True)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8"), max_size=5),
            st.binary(max_size=5),
            st.floats(width=32, allow_nan=False),
            st.integers(-(2**63), 2**63 - 1),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_written_is_read_again(rows: list[tuple[str, bytes, float, int]]) -> None:
    """Outputs sent back as inputs are the same bytes, the same bits of each float."""
    texts, raws, floats, ints = zip(*rows, strict=True)
    outputs = {
        "text": strings(*(text.encode() for text in texts), shape=(len(rows),)),
        "raw_bytes": strings(*raws, shape=(len(rows),)),
        "floats": np.array(floats, np.float32),
        "ints": np.array(ints, np.int64),
    }
    dtypes = {"text": tf.string, "raw_bytes": tf.string, "floats": tf.float32, "ints": tf.int64}
    for as_rows, sent, received in ((True, "predictions", "instances"), (False, "outputs", "inputs")):
        answer = write_tensors(outputs, rows=as_rows).replace(
            f'"{sent}"'.encode(), f'"{received}"'.encode(), 1
        )
        arrays, back_as_rows = read_tensors(parse(answer), infos(**dtypes))
        assert back_as_rows is as_rows
        for name, array in outputs.items():
            assert arrays[name].tolist() == array.tolist()


def examples(text: str) -> list[dict[str, Any]]:
    """Return the examples of a request."""
    return read_examples(parse(text.encode()))


class TestExamples:
    def test_features_are_lists_of_one_type(self) -> None:
        text = """{"examples": [
            {"names": ["foo", {"b64": "aGVsbG8="}], "ratings": [8.0, NaN, -Infinity], "age": 20},
            {"mixed": [1, true, false], "none": []}
        ]}"""
        first, second = examples(text)
        assert first["names"] == [b"foo", b"hello"]
        assert first["ratings"][0] == 8.0
        assert math.isnan(first["ratings"][1])
        assert first["age"] == [20]
        assert second == {"mixed": [1, 1, 0], "none": []}

    def test_the_context_is_part_of_each_example(self) -> None:
        text = '{"context": {"q": "pizza"}, "examples": [{"a": 1}, {"q": "pasta"}]}'
        assert examples(text) == [{"q": [b"pizza"], "a": [1]}, {"q": [b"pasta"]}]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{}", "When method is classify, key 'examples' is expected and was not found"),
            ('{"context": [{"a": 1}]}', "Example must be JSON object but got JSON Array"),
            ('{"examples": {"a": 1}}', "Expecting 'examples' value to be an list/array"),
            ('{"examples": []}', "'examples' value is an empty array"),
            ('{"examples": [[{"a": 1}]]}', "Example must be JSON object but got JSON Array"),
            ('{"examples": ["text"]}', "Example must be JSON object but got JSON String"),
            ('{"examples": [{"a": [10, null]}]}', "Feature: a has element with unexpected JSON type: Null"),
            ('{"examples": [{"a": [10, {"t": 1}]}]}', "a has element with unexpected JSON type: Object"),
            ('{"examples": [{"a": [[10], 20]}]}', "a has element with unexpected JSON type: Array"),
            ('{"examples": [{"a": [10, 10.0]}]}', "element type in feature: a expecting type: int64"),
            ('{"examples": [{"a": [10.0, 10]}]}', "element type in feature: a expecting type: float"),
            ('{"examples": [{"a": ["x", true]}]}', "element type in feature: a expecting type: bytes"),
            ('{"examples": [{"a": [20, 18446744073709551603]}]}', "Only int64 is supported."),
            (f'{{"examples": [{{"a": {DOUBLE_MAX!r}}}]}}', "to float without loss of precision."),
            ('{"examples": [{"a": {"b64": "A"}}]}', "Unable to base64 decode"),
        ],
    )
    def test_invalid_examples(self, text: str, message: str) -> None:
        with pytest.raises(Refused) as caught:
            examples(text)
        assert caught.value.code is Code.INVALID_ARGUMENT
        assert caught.value.message.endswith(message)

    def test_the_text_of_each_example(self) -> None:
        found = string_feature([{"text": [b"a"], "b": [1]}, {"text": [b"c\x00"]}], "text")
        assert found.tolist() == [b"a", b"c\x00"]

    @pytest.mark.parametrize("feature", [None, [], [1], [1.5], [b"a", b"b"]])
    def test_examples_without_one_text_are_refused_as_tensorflow_does(
        self, feature: list[Any] | None
    ) -> None:
        kinds = {int: ("int64_list", tf.train.Int64List), float: ("float_list", tf.train.FloatList)}
        name, kind = kinds.get(type((feature or [b""])[0]), ("bytes_list", tf.train.BytesList))
        given_features = {
            "text": tf.train.Feature(**{name: kind(value=feature)}) if feature else tf.train.Feature()
        }
        example = tf.train.Example(
            features=tf.train.Features(feature=given_features if feature is not None else {})
        )
        with pytest.raises(tf.errors.InvalidArgumentError) as theirs:
            tf.io.parse_example(example.SerializeToString(), {"text": tf.io.FixedLenFeature([], tf.string)})
        with pytest.raises(Refused) as ours:
            string_feature([{"text": feature} if feature is not None else {}], "text")
        assert "text" in ours.value.message
        if feature != [
            b"a",
            b"b",
        ]:  # Alone in a batch of one, TensorFlow says no more than that it can't parse it.
            assert ours.value.message.replace(", Index: 0", "") in theirs.value.message.replace(
                ", Index: 0", ""
            )

    def test_classes_are_pairs(self) -> None:
        labels = strings(b"car", b"bike", b"car", b"bike", shape=(2, 2))
        scores = np.array([[0.2, 0.8], [0.7, 0.3]], np.float32)
        assert json.loads(write_classes(labels, scores)) == {
            "results": [[["car", 0.2], ["bike", 0.8]], [["car", 0.7], ["bike", 0.3]]]
        }


def test_errors_are_ascii() -> None:
    body = write_error('Bad key: "k\ud800y"')
    assert body == b'{"error": "Bad key: \\"k\\ud800y\\""}'
