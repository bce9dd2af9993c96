from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from app.serving.batching import Batcher
from app.serving.calls import Budget, Pending, refusal
from app.serving.errors import Code, Refused
from app.serving.options import Batching

TEXT = {"text": tf.TensorSpec([None], tf.string)}
NUMBERS = {"number": tf.TensorSpec([None], tf.int32)}
SOON = 20.0


def words(text: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return the words of each text, padded; and the longest text of the call, in bytes."""
    pieces = tf.strings.split(text)
    longest = tf.fill(tf.shape(text), tf.reduce_max(tf.strings.length(text)))
    return {
        "words": pieces.to_tensor(),
        "length": tf.cast(pieces.row_lengths(), tf.int32),
        "longest": longest,
    }


WORDS = {
    "words": tf.TensorSpec([None, None], tf.string),
    "length": tf.TensorSpec([None], tf.int32),
    "longest": tf.TensorSpec([None], tf.int32),
}


@pytest.fixture
def sizes() -> list[int]:
    """Return the list that the sizes of calls are written to."""
    return []


@pytest.fixture
def batcher(sizes: list[int]) -> Iterator[Callable[..., Batcher]]:
    """Return a function that makes a batcher."""
    every: list[Batcher] = []

    def make(
        function: Any = words,
        outputs: Any = WORDS,
        *,
        budget: Budget | None = None,
        values: int = 10**6,
        shared_calls: bool = True,
        **options: Any,
    ) -> Batcher:
        batching = Batching(**{"timeout": 0.02, "boundaries": (50,), **options})
        every.append(
            Batcher(
                function,
                outputs,
                batching=batching,
                budget=budget or Budget(10**6),
                values=values,
                observe=sizes.append,
                shared_calls=shared_calls,
            )
        )
        return every[-1]

    yield make
    for one in every:
        one.close()


def begin(batcher: Batcher, *texts: bytes) -> Pending:
    return batcher.submit({"text": np.array(texts, object)}, np.array([len(text) for text in texts]))


def ask(batcher: Batcher, *texts: bytes, seconds: float = SOON) -> dict[str, np.ndarray]:
    return begin(batcher, *texts).result(time.monotonic() + seconds)


class Gate:
    """A function that holds its callers until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.calls = 0

    def __call__(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        def wait(value: tf.Tensor) -> tf.Tensor:
            self.calls += 1
            assert self.open.wait(SOON)
            return value

        held = tf.py_function(wait, [text], tf.string)
        held.set_shape([None])
        return {"text": held}


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Return a gate that is open at the end."""
    gate = Gate()
    yield gate
    gate.open.set()


GATE = {"text": TEXT["text"]}


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


# Batches


def test_requests_share_calls(batcher: Callable[..., Batcher], sizes: list[int]) -> None:
    """Rows of many requests are answered in few calls, each as it would be alone."""
    one = batcher()
    texts = [b" ".join([b"w%d" % i] * (1 + i % 5)) for i in range(200)]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda text: ask(one, text), texts))

    for text, answer in zip(texts, answers, strict=True):
        assert answer["words"].tolist() == [text.split()]
        assert answer["length"].tolist() == [len(text.split())]
    assert sum(sizes) == 200
    assert len(sizes) < 100
    assert one.queue.rows == 0


def test_outputs_are_as_wide_as_the_rows_of_their_request(batcher: Callable[..., Batcher]) -> None:
    """A longer row of another request does not show."""
    one = batcher(timeout=0.3)
    pending = [begin(one, b"a b c d e f"), begin(one, b"a b", b"a"), begin(one, b"")]
    wide, narrow, empty = (p.result(time.monotonic() + SOON) for p in pending)

    assert narrow["longest"].tolist() == [11, 11]  # they did share a call
    assert wide["words"].shape == (1, 6)
    assert narrow["words"].tolist() == [[b"a", b"b"], [b"a", b""]]
    assert empty["words"].tolist() == [[b""]]


def test_only_open_dimensions_are_cut(batcher: Callable[..., Batcher]) -> None:
    """An output with a width of its own stays whole."""

    def function(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.ones([tf.size(text), 3]), "length": tf.ones_like(text, tf.int32)}

    outputs = {"scores": tf.TensorSpec([None, 3], tf.float32), "length": tf.TensorSpec([None], tf.int32)}

    assert ask(batcher(function, outputs), b"a")["scores"].shape == (1, 3)


def test_a_large_request_is_split(batcher: Callable[..., Batcher], sizes: list[int]) -> None:
    """Rows beyond the size of a batch go into further calls; the answers stand in order, at one width."""
    texts = [b" ".join([b"%d" % i] * (1 + i * 7 % 10)) for i in range(150)]

    found = ask(batcher(max_batch_size=64), *texts)

    assert sorted(sizes) == [22, 64, 64]
    assert found["words"].shape == (150, 10)
    assert [[w for w in row if w] for row in found["words"].tolist()] == [text.split() for text in texts]


def test_short_rows_do_not_wait_for_long_ones(batcher: Callable[..., Batcher]) -> None:
    """Rows up to the boundary never share a call with longer ones."""
    one = batcher(timeout=0.2)
    pending = {size: begin(one, b"x" * size) for size in (1, 50, 51, 900)}
    longest = {size: p.result(time.monotonic() + SOON)["longest"][0] for size, p in pending.items()}

    assert longest == {1: 50, 50: 50, 51: 900, 900: 900}


def test_a_split_request_is_sorted(batcher: Callable[..., Batcher]) -> None:
    """Its short rows share calls, and so do its long ones."""
    sizes = [900, 3, 60, 5]
    found = ask(batcher(max_batch_size=2), *[b"x" * size for size in sizes])

    assert found["longest"].tolist() == [900, 5, 900, 5]


def test_batchers_are_not_mixed_up(batcher: Callable[..., Batcher]) -> None:
    """Functions of equal inputs and outputs answer for themselves."""

    def add(amount: int) -> Any:
        return lambda number: {"sum": number + amount}

    outputs = {"sum": tf.TensorSpec([None], tf.int32)}
    batchers = [batcher(add(i), outputs) for i in range(3)]
    pending = [b.submit({"number": np.array([10], np.int32)}, np.array([1])) for b in batchers]

    assert [p.result(time.monotonic() + SOON)["sum"].tolist() for p in pending] == [[10], [11], [12]]


def test_a_failing_row_fails_alone(batcher: Callable[..., Batcher]) -> None:
    """An error in a batch is that of the request that caused it."""

    @tf.function(input_signature=list(TEXT.values()), autograph=False)
    def function(text: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.assert_none_equal(text, b"bad", message="bad text")]):
            return {"text": tf.identity(text)}

    one = batcher(function, GATE, timeout=0.2)
    pending = [begin(one, text) for text in (b"good", b"bad", b"better")]

    assert pending[0].result(time.monotonic() + SOON)["text"].tolist() == [b"good"]
    assert pending[2].result(time.monotonic() + SOON)["text"].tolist() == [b"better"]
    with pytest.raises(Refused, match="bad text") as error:
        pending[1].result(time.monotonic() + SOON)
    assert error.value.code is Code.INVALID_ARGUMENT


def test_errors_of_the_graph() -> None:
    """A client is told what went wrong, not where in the graph."""
    message = (
        "Graph execution error:\n\nDetected at node x\n\nindices[0] = 9 is not in [0, 5)\n\t [[{{node x}}]]"
    )
    told = refusal(tf.errors.InvalidArgumentError(None, None, message))

    assert (told.code, told.message) == (Code.INVALID_ARGUMENT, "indices[0] = 9 is not in [0, 5)")
    assert refusal(tf.errors.InternalError(None, None, "x")).code is Code.INTERNAL


# Bounds


def test_a_full_queue_refuses(batcher: Callable[..., Batcher], gate: Gate) -> None:
    """Rows that wait are bounded; when they are answered, there is room again."""
    one = batcher(gate, GATE, max_queue=4)
    pending = [begin(one, b"a", b"b"), begin(one, b"c"), begin(one, b"d", b"e", b"f")]
    assert one.queue.rows == 6

    with pytest.raises(Refused, match=r"the queue is full \(6 rows\)") as error:
        begin(one, b"g")
    assert error.value.code is Code.RESOURCE_EXHAUSTED
    gate.open.set()
    assert [len(p.result(time.monotonic() + SOON)["text"]) for p in pending] == [2, 1, 3]
    until(lambda: one.queue.rows == 0)
    assert ask(one, b"g")["text"].tolist() == [b"g"]


def test_a_deadline_is_kept(batcher: Callable[..., Batcher], gate: Gate) -> None:
    """A request is refused once its deadline has passed; a queued one never reaches the model."""
    one = batcher(gate, GATE, max_batch_size=1, threads=1, boundaries=())
    held = [begin(one, b"a"), begin(one, b"b")]  # as many as there are threads
    began = time.monotonic()
    with pytest.raises(Refused) as error:
        ask(one, b"c", seconds=0.2)

    assert error.value.code is Code.DEADLINE_EXCEEDED
    assert time.monotonic() - began >= 0.2
    assert not any(future.done() for pending in held for future in pending.futures)
    assert one.queue.rows == 2
    gate.open.set()
    for pending in held:
        pending.result(time.monotonic() + SOON)
    until(lambda: one.queue.rows == 0)
    assert gate.calls == 2


def result(pending: Pending, seconds: float, asynchronous: bool) -> dict[str, np.ndarray]:
    deadline = time.monotonic() + seconds
    return asyncio.run(pending.wait(deadline)) if asynchronous else pending.result(deadline)


def endless(number: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"number": tf.while_loop(lambda i: i[0] >= 0, lambda i: [tf.abs(i)], [number])[0]}


def begin_endless(batcher: Callable[..., Batcher], **options: Any) -> tuple[Batcher, Pending]:
    """Return a batcher with one thread, and a request to it that never ends."""
    function = tf.function(endless, input_signature=list(NUMBERS.values()), autograph=False)
    one = batcher(function, NUMBERS, threads=1, direct_calls=1, timeout=0, **options)
    pending = one.submit({"number": np.array([1], np.int32)}, np.array([1]))
    until(lambda: bool(pending.futures[0].running()))
    return one, pending


@pytest.mark.parametrize("shared_calls", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_call_ends_with_its_deadline(
    batcher: Callable[..., Batcher], asynchronous: bool, shared_calls: bool
) -> None:
    """What nobody waits for any more does not go on computing."""
    one, pending = begin_endless(batcher, shared_calls=shared_calls)
    with pytest.raises(Refused) as error:
        result(pending, 0.2, asynchronous)

    assert error.value.code is Code.DEADLINE_EXCEEDED
    until(lambda: one.queue.rows == 0)


def test_who_is_cancelled_gives_up(batcher: Callable[..., Batcher]) -> None:
    """A client that is gone leaves no call behind."""
    one, pending = begin_endless(batcher)

    async def leave() -> None:
        waiting = asyncio.create_task(pending.wait(time.monotonic() + SOON))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(leave())
    until(lambda: one.queue.rows == 0)


def test_a_call_of_several_ends_when_all_have_gone(batcher: Callable[..., Batcher], gate: Gate) -> None:
    """A client that leaves does not stop the call that it shares with another one."""
    one = batcher(gate, GATE, threads=1, timeout=0.1)
    gone, stays = begin(one, b"a"), begin(one, b"b")
    until(lambda: gate.calls == 1)
    gone.stop()
    gate.open.set()

    assert stays.result(time.monotonic() + SOON)["text"].tolist() == [b"b"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_closing_stops_all(batcher: Callable[..., Batcher], asynchronous: bool) -> None:
    """What runs is stopped, what is queued is dropped, and all are told."""
    one, running = begin_endless(batcher)
    queued = one.submit({"number": np.array([1], np.int32)}, np.array([1]))
    one.close()

    for each in (running, queued):
        with pytest.raises(Refused) as error:
            result(each, SOON, asynchronous)
        assert error.value.code is Code.UNAVAILABLE


# Cost


def test_a_call_is_bounded_by_its_padded_size(batcher: Callable[..., Batcher], sizes: list[int]) -> None:
    """Rows × longest row of a call of several rows is at most half of the budget, however they come."""
    one = batcher(budget=Budget(2000), boundaries=())
    texts = [b"x" * size for size in (1, 400, 300, 2, 5000, 300, 300, 3)]

    found = ask(one, *texts)

    assert found["longest"].tolist() == [3, 400, 300, 3, 5000, 300, 300, 3]
    assert sorted(sizes) == [1, 1, 3, 3]
    sizes.clear()
    pending = [begin(one, text) for text in texts]
    longest = [p.result(time.monotonic() + SOON)["longest"][0] for p in pending]
    assert sizes == [3, 2, 1, 2] or len(sizes) >= 4
    assert longest[4] == 5000
    assert max(longest[:4] + longest[5:]) <= 400


@pytest.mark.parametrize("shared_calls", [False, True])
def test_calls_of_long_rows_share_a_budget(
    batcher: Callable[..., Batcher], gate: Gate, shared_calls: bool
) -> None:
    """Calls of all signatures start within the budget; one that is larger than it runs alone."""
    budget = Budget(1000)
    options = {"budget": budget, "threads": 4, "timeout": 0, "shared_calls": shared_calls}
    first, second = batcher(gate, GATE, **options), batcher(gate, GATE, **options)
    running = [begin(first, b"x" * 500), begin(second, b"x" * 400)]
    until(lambda: gate.calls == 2)
    waiting = [begin(first, b"x" * 200), begin(second, b"x" * 5000)]
    time.sleep(0.1)
    assert gate.calls == 2

    gate.open.set()
    for pending in (*running, *waiting):
        pending.result(time.monotonic() + SOON)
    assert gate.calls == 4


@pytest.mark.parametrize("threads", [1, 2])
def test_short_rows_overtake_long_ones(batcher: Callable[..., Batcher], gate: Gate, threads: int) -> None:
    """Long rows that run, or wait for memory, do not hold short ones up."""

    def function(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return tf.cond(
            tf.reduce_max(tf.strings.length(text)) > 50,
            lambda: gate(text)["text"],
            lambda: tf.identity(text),
        )

    traced = tf.function(lambda text: {"text": function(text)}, input_signature=list(TEXT.values()))
    one = batcher(traced, GATE, threads=threads, timeout=0, budget=Budget(1000))
    held = [begin(one, b"x" * 900) for _ in range(3)]
    until(lambda: gate.calls == 1)

    assert ask(one, b"short")["text"].tolist() == [b"short"]
    assert not any(future.done() for pending in held for future in pending.futures)


def test_the_cost_of_waiting_rows_is_bounded(batcher: Callable[..., Batcher], gate: Gate) -> None:
    """A queue of few rows is full if these are long."""
    one = batcher(gate, GATE, max_queue_bytes=1000)
    pending = [begin(one, b"x" * 600), begin(one, b"x" * 600)]

    with pytest.raises(Refused, match=r"the queue is full \(1200 bytes\)") as error:
        begin(one, b"x")
    assert error.value.code is Code.RESOURCE_EXHAUSTED
    gate.open.set()
    for each in pending:
        each.result(time.monotonic() + SOON)
    until(lambda: one.queue.cost == 0)


def test_the_padded_outputs_of_a_request_are_bounded(batcher: Callable[..., Batcher]) -> None:
    """Short rows are padded to the longest one of their request only as long as that is bearable."""
    one = batcher(values=1000, budget=Budget(200))
    texts = [b"a " * 100] + [b"a"] * 8

    with pytest.raises(Refused, match="1,122 values") as error:
        ask(one, *texts, b"a", b"a")
    assert error.value.code is Code.INVALID_ARGUMENT
    assert ask(one, *texts[:3])["words"].shape == (3, 100)


def test_memory_that_runs_out_is_told(batcher: Callable[..., Batcher]) -> None:
    """A call for which there is no memory fails alone."""

    def exhausted(text: tf.Tensor) -> dict[str, tf.Tensor]:
        raise MemoryError

    with pytest.raises(Refused, match="out of memory") as error:
        ask(batcher(exhausted, GATE), b"a")
    assert error.value.code is Code.RESOURCE_EXHAUSTED


def test_waiting_without_a_thread(batcher: Callable[..., Batcher]) -> None:
    """An event loop waits for many requests at once."""
    one = batcher()

    async def all_of_them() -> list[dict[str, np.ndarray]]:
        pending = [begin(one, b"w%d" % i) for i in range(20)]
        return list(await asyncio.gather(*(p.wait(time.monotonic() + SOON) for p in pending)))

    answers = asyncio.run(all_of_them())
    assert [answer["words"].tolist() for answer in answers] == [[[b"w%d" % i]] for i in range(20)]
