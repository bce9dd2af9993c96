"""TensorFlow Serving's JSON: cases of its `json_tensor_test.cc`, and further ones for text models."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from app.serving.errors import Code, Refused
from app.serving.json_body import MOST_SHOWN, parse, signature_name, write_error
from app.serving.json_examples import read_examples, string_feature, write_classes
from app.serving.json_tensors import read_tensors, write_tensors
from app.serving.signature import TensorInfo

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
            {"ints": [[1,2],[3,4]], "strings": ["foo", "bar"], "floats": [1.0, 0.5], "doubles": [1e300]},
            {"strings": ["baz", "bat"], "ints": [[7,8],[9,0]], "floats": [2.0, -3e38], "doubles": [2.0]}
        ]}"""
        arrays = read(text, ints=tf.int32, strings=tf.string, floats=tf.float32, doubles=tf.float64)
        assert arrays["ints"] == [[[1, 2], [3, 4]], [[7, 8], [9, 0]]]
        assert arrays["strings"] == [[b"foo", b"bar"], [b"baz", b"bat"]]
        assert arrays["floats"] == [[1.0, 0.5], [2.0, pytest.approx(-3e38)]]
        assert arrays["doubles"] == [[1e300], [2.0]]

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
    (
        '{"instances": [[1,2],[3,4],[5,6,7]]}',
        {"a": tf.int32},
        "instances[2]: the shape is [3], in the first instance [2]",
    ),
    (
        '{"instances": [[1,2],[3,4],[[5,6]]]}',
        {"a": tf.int32},
        "instances[2]: the shape is [1, 2], in the first instance [2]",
    ),
    ('{"instances": [1, [1]]}', {"a": tf.int32}, "the shape is [1], in the first instance []"),
    (
        '{"instances": [[1,2],["a","b"]]}',
        {"a": tf.int32},
        'instances[1]: expected a value of the type int32, got a string: "a"',
    ),
    ('{"instances": [[1,[2]]]}', {"a": tf.int32}, "nested more than 1 levels deep, unlike the first one"),
    ('{"instances": [[[1],2]]}', {"a": tf.int32}, "expected an array of 1 values, got a number"),
    ('{"instances": [[[1,2],[3]]]}', {"a": tf.int32}, "expected an array of 2 values, got one of 1"),
    (
        '{"instances": [1, 2]}',
        {"a": tf.int32, "b": tf.int32},
        "'instances' must hold objects with the keys a, b",
    ),
    (
        '{"instances": [{"a": 1}, [1, 20]]}',
        {"a": tf.int32},
        "instances[1]: objects and plain values cannot be mixed",
    ),
    (
        '{"instances": [["x"], {"a": ["x"]}]}',
        {"a": tf.string},
        "instances[1]: objects and plain values cannot be mixed",
    ),
    (
        '{"instances": [{"a": 1, "c": 2}]}',
        {"a": tf.int32, "b": tf.int32},
        "instances[0]: expected exactly the keys a, b",
    ),
    (
        '{"instances": [{"a": 1}]}',
        {"b": tf.int32, "a": tf.int32},
        "instances[0]: expected exactly the keys a, b",
    ),
    (
        '{"instances": [{"a": "x", "b": 1}]}',
        {"b": tf.int32, "a": tf.int32},
        'instances[0].a: expected a value of the type int32, got a string: "x"',
    ),
    ('{"instances": [{}]}', {"a": tf.int32}, "instances[0]: expected exactly the keys a"),
    ('{"instances": "text"}', {"a": tf.string}, "'instances' must be a non-empty array"),
    ('{"instances": {"a": 1}}', {"a": tf.string}, "'instances' must be a non-empty array"),
    ('{"instances": []}', {"a": tf.string}, "'instances' must be a non-empty array"),
    (
        '{"instances": [1], "inputs": [1]}',
        {"a": tf.int32},
        "exactly one of the keys 'instances' and 'inputs'",
    ),
    ("{}", {"a": tf.int32}, "exactly one of the keys 'instances' and 'inputs'"),
    ('{"instances": [1]}', {}, "the signature takes no inputs"),
    (
        '{"inputs": [1]}',
        {"a": tf.int32, "b": tf.int32},
        "'inputs' must be an object with the keys a, b",
    ),
    ('{"inputs": {"a": 1}}', {"a": tf.int32, "b": tf.int32}, "'inputs' has no key 'b'"),
    ('{"inputs": {"b": 1}}', {"a": tf.int32}, "'inputs' has no key 'a'"),
]


@pytest.mark.parametrize(("text", "dtypes", "message"), INVALID_ROWS)
def test_invalid_requests(text: str, dtypes: dict[str, tf.DType], message: str) -> None:
    assert message in refusal(text, **dtypes)


MISTYPED = [
    (tf.string, "1", "a number", "string"),
    (tf.string, "1.5", "a number", "string"),
    (tf.string, "null", "null", "string"),
    (tf.string, "true", "a boolean", "string"),
    (tf.int32, "1.0", "a number", "int32"),
    (tf.int32, "true", "a boolean", "int32"),
    (tf.int32, "2147483648", "a number", "int32"),
    (tf.int32, "-2147483649", "a number", "int32"),
    (tf.int32, "null", "null", "int32"),
    (tf.int32, '{"b64": "AAAA"}', "an object", "int32"),
    (tf.int64, "9223372036854775808", "a number", "int64"),
    (tf.uint8, "256", "a number", "uint8"),
    (tf.uint64, "-1", "a number", "uint64"),
    (tf.bool, "1", "a number", "bool"),
    (tf.bool, '"true"', "a string", "bool"),
    (tf.float32, '"1"', "a string", "float32"),
    (tf.float32, "false", "a boolean", "float32"),
    (tf.float64, "null", "null", "float64"),
]


@pytest.mark.parametrize(("dtype", "value", "kind", "expected"), MISTYPED)
def test_values_of_another_type(dtype: tf.DType, value: str, kind: str, expected: str) -> None:
    message = refusal(f'{{"inputs": {{"a": [{value}]}}}}', a=dtype)
    assert message.startswith(f"expected a value of the type {expected}, got {kind}: ")


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
        (tf.float32, repr(DOUBLE_MAX), "float32"),
        (tf.float32, "-1e39", "float32"),
        (tf.float32, "16777217", "float32"),
        (tf.float32, "-16777216", "float32"),
        (tf.float32, "1" + 40 * "0", "float32"),
        (tf.float64, "9007199254740993", "float64"),
        (tf.float64, "18446744073709551615", "float64"),
    ],
)
def test_numbers_that_a_float_cannot_hold(dtype: tf.DType, value: str, target: str) -> None:
    message = refusal(f'{{"instances": [{value}]}}', a=dtype)
    assert message.endswith(f"to {target} without loss of precision")


def test_a_type_that_json_has_nothing_for() -> None:
    with pytest.raises(Refused, match="JSON has no values of the type complex64") as caught:
        read_tensors(parse(b'{"inputs": [1]}'), infos(a=tf.complex64))
    assert caught.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize("value", ['{"b64": 1}', '{"b64": "AAAA", "c": 1}', '{"b65": "AAAA"}', "{}"])
def test_objects_that_are_not_base64(value: str) -> None:
    message = refusal(f'{{"inputs": {{"a": [{value}]}}}}', a=tf.string)
    assert message.startswith("expected a value of the type string, got an object: ")


@pytest.mark.parametrize("value", ["A", "AAAAA", "AA=", "A===", "AA==AA", "$$$$", "-_-_", "é", "\\ud800"])
def test_base64_that_is_none(value: str) -> None:
    assert refusal(f'{{"inputs": [{{"b64": "{value}"}}]}}', a=tf.string) == "the value of 'b64' is not base64"


INVALID_JSON = [
    (b"", "the request body is empty"),
    (b" \n ", "not JSON: Expecting value"),
    (b"instances = [1, 2]", "not JSON: Expecting value: line 1 column 1 (char 0)"),
    (b"[1, 2", "not JSON: Expecting ',' delimiter"),
    (b'{"a": [{}, []] 1}', "not JSON: Expecting ',' delimiter"),
    (b'{"a" 1}', "not JSON: Expecting ':' delimiter"),
    (b"{1: 2}", "not JSON: Expecting property name"),
    (b"{'a': 2}", "not JSON: Expecting property name"),
    (b'{"a": 1} x', "not JSON: Extra data"),
    (b'{"a": "b', "not JSON: Unterminated string"),
    (b'{"a": "\\x"}', "not JSON: Invalid \\escape"),
    (b'{"a": "\\u12x4"}', "not JSON: Invalid \\uXXXX escape"),
    (b'{"a": "\n"}', "not JSON: Invalid control character"),
    (b'{"a": "\xff"}', "not UTF-8 (byte 7)"),
    (b'{"a": "\xed\xa0\x80"}', "not UTF-8 (byte 7)"),
    ('{"a": 1}'.encode("utf-16"), "not UTF-8 (byte 0)"),
    (b'{"a": 1e999}', "a number is too large for a double"),
    (b'{"a": ' + 5000 * b"1" + b"}", "a number is too large for a double"),
    (b'{"a": 1, "b": 2, "a": 3}', 'the name "a" occurs more than once in an object'),
    (b'{"a": [{"b": 1, "b": 1}]}', 'the name "b" occurs more than once in an object'),
    (100_000 * b"[", "nested too deeply"),
    (100_000 * b'{"a":', "nested too deeply"),
    (b"[1]", "expected a JSON object, got an array: [1]"),
    (b'"text"', 'expected a JSON object, got a string: "text"'),
    (b"null", "expected a JSON object, got null: null"),
    (b"NaN", "NaN is not JSON, expected a finite number"),
    (b'{"instances": [1.0, NaN]}', "NaN is not JSON, expected a finite number"),
    (b'{"inputs": {"a": [Infinity]}}', "Infinity is not JSON, expected a finite number"),
    (b'{"a": [{"b": -Infinity}]}', "-Infinity is not JSON, expected a finite number"),
]


@pytest.mark.parametrize(("body", "message"), INVALID_JSON, ids=range(len(INVALID_JSON)))
def test_bodies_that_are_not_json(body: bytes, message: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(body)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert message in caught.value.message


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse(b'\xef\xbb\xbf{"a": "\xc3\xbc"}') == {"a": "ü"}


def test_integers_too_large_for_any_float() -> None:
    assert "too large for a double" in refusal(f'{{"inputs": [{10**400}]}}', a=tf.float32)
    assert "expected a value of the type int32" in refusal(f'{{"inputs": [{10**400}]}}', a=tf.int32)


def test_half_of_a_surrogate_pair() -> None:
    message = refusal('{"inputs": ["\\ud800"]}', a=tf.string)
    assert message == "a string has half of a surrogate pair"
    assert read('{"inputs": ["\\ud83d\\ude00"]}', a=tf.string) == {"a": ["😀".encode()]}


@pytest.mark.parametrize("depth", [65, 500, 900])
def test_more_dimensions_than_an_array_can_have(depth: int) -> None:
    text = f'{{"inputs": {depth * "["}1{depth * "]"}}}'
    assert "nested more than 64 levels deep" in refusal(text, a=tf.int32)


def test_an_error_repeats_no_more_than_the_start_of_a_value() -> None:
    message = refusal(json.dumps({"instances": [100_000 * "x"]}), a=tf.int32)
    assert "xxx" in message
    assert len(message) < MOST_SHOWN + 100
    message = refusal(json.dumps({"instances": [{"b": 100_000 * [1]}, {"b": 1}]}), b=tf.string)
    assert message == "instances[0].b: expected a value of the type string, got a number: 1"
    with pytest.raises(Refused) as caught:
        parse(json.dumps(100_000 * [1]).encode())
    assert caught.value.message.startswith("expected a JSON object, got an array: [1, 1, ")
    assert len(caught.value.message) < MOST_SHOWN + 100


def test_the_name_of_the_signature() -> None:
    assert signature_name({"signature_name": "beam"}) == "beam"
    assert signature_name({"instances": []}) == ""
    with pytest.raises(Refused, match="'signature_name' must be a string, got a number: 5"):
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
        assert body == b'{"predictions": [[null, null], [3.0, null]]}'

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
            (
                {"a": np.zeros(2), "b": np.zeros((3, 2))},
                r"cannot be returned by row.* \(a: \[2\], b: \[3, 2\]\)",
            ),
            ({"a": np.zeros(0), "b": np.zeros(1)}, r"\(a: \[0\], b: \[1\]\)"),
            (
                {"a": np.array(1)},
                r"cannot be returned by row, use 'inputs' instead of 'instances' \(a: \[\]\)",
            ),
            ({"a": np.zeros(2, np.complex64)}, "output 'a' has the type complex64"),
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
            st.floats(width=32, allow_nan=False, allow_infinity=False),
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
            {"names": ["foo", {"b64": "aGVsbG8="}], "ratings": [8.0, 1e30], "age": 20},
            {"mixed": [1, true, false], "none": []}
        ]}"""
        first, second = examples(text)
        assert first["names"] == [b"foo", b"hello"]
        assert first["ratings"] == [8.0, pytest.approx(1e30)]
        assert first["age"] == [20]
        assert second == {"mixed": [1, 1, 0], "none": []}

    def test_the_context_is_part_of_each_example(self) -> None:
        text = '{"context": {"q": "pizza"}, "examples": [{"a": 1}, {"q": "pasta"}]}'
        assert examples(text) == [{"q": [b"pizza"], "a": [1]}, {"q": [b"pasta"]}]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{}", "expected the key 'examples' with a non-empty array of objects"),
            ('{"context": [{"a": 1}]}', "an example must be an object, got an array"),
            ('{"examples": {"a": 1}}', "expected the key 'examples' with a non-empty array of objects"),
            ('{"examples": []}', "expected the key 'examples' with a non-empty array of objects"),
            ('{"examples": [[{"a": 1}]]}', "an example must be an object, got an array"),
            ('{"examples": ["text"]}', "an example must be an object, got a string"),
            ('{"examples": [{"a": [10, null]}]}', "feature 'a' has a value that is null"),
            ('{"examples": [{"a": [10, {"t": 1}]}]}', "feature 'a' has a value that is an object"),
            ('{"examples": [{"a": [[10], 20]}]}', "feature 'a' has a value that is an array"),
            ('{"examples": [{"a": [10, 10.0]}]}', "feature 'a' has values of several types"),
            ('{"examples": [{"a": ["x", true]}]}', "feature 'a' has values of several types"),
            ('{"examples": [{"a": [20, 18446744073709551603]}]}', "feature 'a' has a value beyond int64"),
            (f'{{"examples": [{{"a": {DOUBLE_MAX!r}}}]}}', "to float32 without loss of precision"),
            ('{"examples": [{"a": {"b64": "A"}}]}', "the value of 'b64' is not base64"),
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
        with pytest.raises(tf.errors.InvalidArgumentError):
            tf.io.parse_example(example.SerializeToString(), {"text": tf.io.FixedLenFeature([], tf.string)})
        with pytest.raises(Refused) as refused:
            string_feature([{"text": feature} if feature is not None else {}], "text")
        assert refused.value.message == "example 0: expected the feature 'text' with one string"

    def test_classes_are_pairs(self) -> None:
        labels = strings(b"car", b"bike", b"car", b"bike", shape=(2, 2))
        scores = np.array([[0.2, 0.8], [0.7, 0.3]], np.float32)
        assert json.loads(write_classes(labels, scores)) == {
            "results": [[["car", 0.2], ["bike", 0.8]], [["car", 0.7], ["bike", 0.3]]]
        }


def test_errors_are_ascii() -> None:
    body = write_error('Bad key: "k\ud800y"')
    assert body == b'{"error": "Bad key: \\"k\\ud800y\\""}'
