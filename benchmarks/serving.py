"""Load on `textrnn serve`: throughput, streamed texts, two minutes of disturbances, and none at all.

    python benchmarks/serving.py throughput exports/imdb DATA
    python benchmarks/serving.py streams exports/plays
    python benchmarks/serving.py idle exports/imdb exports/plays exports/tags exports/pairs
    python benchmarks/serving.py endure exports/imdb DATA --other exports/imdb-2

DATA is a file of JSON lines with a `text`, also one that ends with .gz.

`throughput` measures one client that sends one request after the other, and many clients at once. Both take
turns in several rounds; medians are printed.

`streams` measures texts of 40 tokens that are streamed at the same time: 1, 16 and 64 of them.

`idle` measures the CPU time of a server that nobody asks, during a minute, and its memory.

`endure` sends requests from many clients for two minutes. In the middle a new version is copied into the
model's directory. Some clients disconnect during their requests. The server gets SIGTERM at the end.

Every prediction is compared with that for the text alone. Clients and server run on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import uvloop

CLIENTS = 64
STREAMED = 40
"""Tokens of a streamed text."""
ROUNDS = 3
TOLERANCE = 1e-4
Texts = list[str]


@dataclass
class Seen:
    """The responses that clients got."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    bodies: list[tuple[int, bytes]] = field(default_factory=list)
    """Number of the text, and body; parsed later, because clients and server run on the same machine."""
    dropped: int = 0
    """Requests without a response, although the client waited."""
    refused: int = 0
    """Connections that failed."""
    left: int = 0
    """Requests whose client disconnected."""

    def predictions(self) -> Iterator[tuple[int, list[float]]]:
        """Yield the number of the text and its probabilities."""
        for number, body in self.bodies:
            yield number, json.loads(body)["predictions"][0]["probabilities"]


class Server:
    """A process that runs `textrnn serve`."""

    def __init__(self, directory: Path, *options: str) -> None:
        """Start it, and wait until it is ready."""
        command = [Path(sys.executable).with_name("textrnn"), "serve", f"model={directory}"]
        self.process = subprocess.Popen(
            [*map(str, command), "--rest-port", "0", "--grpc-port", "0", *options],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        self.port = 0
        for line in self.process.stderr:
            if found := re.search(r"http://[^:]+:(\d+)", line):
                self.port = int(found[1])
                break
        self._drain = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)

    def megabytes(self) -> float:
        """Return its resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0

    def cpu_seconds(self) -> float:
        """Return the CPU time of all of its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> int:
        """Send SIGTERM, as an orchestrator does, and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def request(text: str, port: int) -> bytes:
    """Return an HTTP request for a prediction."""
    body = json.dumps({"instances": [text]}).encode()
    head = (
        "POST /v1/models/model:predict HTTP/1.1\r\n"
        f"Host: localhost:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def response(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Return status and body of a response, and whether the server closes the connection after it."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    body = await reader.readexactly(int(length[1]) if length else 0)
    return int(head[9:12]), body, b"connection: close" in head.lower()


async def client(port: int, requests: list[bytes], own: list[int], until: float, seen: Seen) -> None:
    """Send one request after the other, on one connection while the server keeps it open."""
    writer = None
    for number in own:
        if time.perf_counter() > until:
            break
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            seen.refused += 1
            await asyncio.sleep(0.05)
            continue
        begun = time.perf_counter()
        try:
            writer.write(requests[number])
            await writer.drain()
            status, body, closes = await response(reader)
        except (OSError, asyncio.IncompleteReadError):
            seen.dropped += 1
            writer = None
            continue
        seen.seconds.append(time.perf_counter() - begun)
        seen.statuses[status] += 1
        if closes:
            writer.close()
            writer = None
        if status == 200:
            seen.bodies.append((number, body))
    if writer:
        writer.close()


async def leaver(port: int, requests: list[bytes], until: float, seen: Seen) -> None:
    """Disconnect again and again, in the middle of a request or before its response."""
    turn = 0
    while time.perf_counter() < until:
        turn += 1
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            sent = requests[turn % len(requests)]
            writer.write(sent if turn % 2 else sent[: len(sent) // 2])
            await writer.drain()
            await asyncio.sleep(0.002 * (turn % 3))
            writer.transport.abort()
            seen.left += 1
        except OSError:
            seen.refused += 1
        await asyncio.sleep(0.1)


async def load(port: int, requests: list[bytes], clients: int, seconds: float, leavers: int = 0) -> Seen:
    """Run clients for some time."""
    seen = Seen()
    orders = [list(np.random.default_rng(i).permutation(len(requests))) * 1000 for i in range(clients)]
    until = time.perf_counter() + seconds
    await asyncio.gather(
        *(client(port, requests, order, until, seen) for order in orders),
        *(leaver(port, requests, until, seen) for _ in range(leavers)),
    )
    return seen


def expected(export: Path, texts: Texts) -> list[list[float]]:
    """Return the probabilities of each text alone."""
    from app.prediction.loading import load_predictor

    predictor = load_predictor(export)
    return [
        predictor.run_texts("serving_default", [text.encode()])["probabilities"][0].tolist() for text in texts
    ]


def wrong(seen: Seen, *models: list[list[float]]) -> int:
    """Return the number of predictions that no model makes."""
    return sum(
        not any(np.allclose(got, model[number], atol=TOLERANCE) for model in models)
        for number, got in seen.predictions()
    )


def throughput(export: Path, texts: Texts, seconds: float) -> None:
    """Compare one client with many."""
    server = Server(export)
    requests = [request(text, server.port) for text in texts]
    uvloop.run(load(server.port, requests, CLIENTS, 2))
    one, many, ratios = [], [], []
    used: dict[int, list[float]] = {1: [], CLIENTS: []}
    for _ in range(ROUNDS):
        for clients, rounds in ((1, one), (CLIENTS, many)):
            before = server.cpu_seconds()
            rounds.append(uvloop.run(load(server.port, requests, clients, seconds)))
            used[clients].append((server.cpu_seconds() - before) / len(rounds[-1].seconds) * 1e3)
        ratios.append(len(many[-1].seconds) / len(one[-1].seconds))
    alone = expected(export, texts)
    print(f"{len(os.sched_getaffinity(0))} CPUs, {len(texts)} texts, {ROUNDS} rounds of {seconds:.0f} s")
    for name, clients, rounds in (("one client", 1, one), (f"{CLIENTS} clients", CLIENTS, many)):
        rate = np.median([len(seen.seconds) / seconds for seen in rounds])
        p50, p99 = (np.median([np.percentile(seen.seconds, p) for seen in rounds]) * 1e3 for p in (50, 99))
        lost = sum(seen.dropped + seen.refused for seen in rounds)
        statuses = sum((seen.statuses for seen in rounds), Counter())
        bad = sum(wrong(seen, alone) for seen in rounds)
        print(
            f"{name:12} {rate:8,.0f} requests/s  p50 {p50:6.1f} ms  p99 {p99:6.1f} ms  "
            f"CPU time of the server {np.median(used[clients]):.2f} ms/request  lost {lost}  "
            f"statuses {dict(statuses)}  wrong {bad}"
        )
    print(f"{CLIENTS} clients / one client: {np.median(ratios):.2f}")
    print(f"exit status {server.stop()}")


async def stream(port: int, seed: int) -> tuple[float, int]:
    """Stream a text; return the seconds until its end, and the number of its tokens."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"prompt": "The ", "length": STREAMED, "seed": seed}).encode()
    head = f"Host: localhost:{port}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    begun = time.perf_counter()
    writer.write(b"POST /v1/models/model:generate HTTP/1.1\r\n" + head.encode() + body)
    found = await reader.read()
    writer.close()
    if b'"done": true' not in found:
        raise SystemExit(f"the stream failed: {found[:200]!r}")
    return time.perf_counter() - begun, found.count(b"data: ") - 1


def streams(export: Path) -> None:
    """Measure texts that are streamed at the same time."""
    server = Server(export)

    async def together(texts: int) -> list[tuple[float, int]]:
        return await asyncio.gather(*(stream(server.port, seed) for seed in range(texts)))

    uvloop.run(together(2))
    for texts in (1, 16, 64):
        begun, before, found = time.perf_counter(), server.cpu_seconds(), []
        for _ in range(ROUNDS):
            found += uvloop.run(together(texts))
        seconds, cpu = time.perf_counter() - begun, server.cpu_seconds() - before
        tokens = sum(count for _, count in found)
        times = [own for own, _ in found]
        print(
            f"{texts:3} texts of {STREAMED}: p50 {np.median(times):.2f} s, longest {max(times):.2f} s, "
            f"{tokens / seconds:,.0f} tokens/s, CPU time of the server {cpu / tokens * 1e3:.2f} ms/token"
        )
    print(f"exit status {server.stop()}")


def idle(exports: list[Path], seconds: float) -> None:
    """Measure a server that nobody asks."""
    server = Server(exports[0], *(f"model{i}={path}" for i, path in enumerate(exports[1:])))
    time.sleep(5)
    before = server.cpu_seconds()
    time.sleep(seconds)
    share = (server.cpu_seconds() - before) / seconds
    print(f"{len(exports)} models: {share:.2%} of a core in {seconds:.0f} s, {server.megabytes():,.0f} MB")
    print(f"exit status {server.stop()}")


def endure(export: Path, other: Path, texts: Texts, seconds: float) -> None:
    """Change the version, disconnect clients and stop the server, under load."""
    from app.prediction.loading import find_export

    first, second = (find_export(path) for path in (export, other))
    assert first
    assert second
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(first, Path(folder, "1"))
        server = Server(Path(folder), "--poll", "1")
        requests = [request(text, server.port) for text in texts]
        models = [expected(path, texts) for path in (first, second)]
        uvloop.run(load(server.port, requests, CLIENTS, 5, leavers=2))
        memory = [server.megabytes()]

        async def run() -> Seen:
            async def disturb() -> None:
                await asyncio.sleep(seconds / 4)
                memory.append(server.megabytes())
                await asyncio.sleep(seconds / 4)
                # Slowly, file by file, as a copy over a network.
                for path in sorted(second.rglob("*")):
                    target = Path(folder, "2", path.relative_to(second))
                    if path.is_dir():
                        target.mkdir(parents=True, exist_ok=True)
                    else:
                        target.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy(path, target)
                    await asyncio.sleep(0.2)
                await asyncio.sleep(seconds / 4)
                memory.append(server.megabytes())
                await asyncio.sleep(seconds / 4 - 3)
                memory.append(server.megabytes())
                server.process.send_signal(signal.SIGTERM)

            clients = load(server.port, requests, CLIENTS, seconds, leavers=2)
            return (await asyncio.gather(clients, disturb()))[0]

        seen = uvloop.run(run())
        status = server.process.wait(60)
    by_model = [
        sum(np.allclose(got, model[number], atol=TOLERANCE) for number, got in seen.predictions())
        for model in models
    ]
    p50, p99 = (np.percentile(seen.seconds, p) * 1e3 for p in (50, 99))
    print(f"{seconds:.0f} s, {CLIENTS} clients: {len(seen.seconds):,} responses, {dict(seen.statuses)}")
    print(f"no response: {seen.dropped}; not connected: {seen.refused}; disconnected: {seen.left}")
    print(f"of version 1: {by_model[0]:,}, of version 2: {by_model[1]:,}; wrong: {wrong(seen, *models)}")
    print(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    print(f"memory in MB: {', '.join(f'{value:,.0f}' for value in memory)}; exit status {status}")


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["throughput", "streams", "idle", "endure"])
    parser.add_argument("export", type=Path)
    parser.add_argument("data", type=Path, nargs="*", help="of `idle`: further exports")
    parser.add_argument("--other", type=Path, help="the version that is added in the middle of `endure`")
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--seconds", type=float)
    arguments = parser.parse_args()
    if arguments.what == "streams":
        streams(arguments.export)
        return
    if arguments.what == "idle":
        idle([arguments.export, *arguments.data], arguments.seconds or 60)
        return
    (path,) = arguments.data
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        texts = [json.loads(line)["text"] for line, _ in zip(file, range(arguments.texts), strict=False)]
    if arguments.what == "throughput":
        throughput(arguments.export, texts, arguments.seconds or 10)
    else:
        endure(arguments.export, arguments.other or arguments.export, texts, arguments.seconds or 120)


if __name__ == "__main__":
    main()
