"""Memory of `textrnn predict` and `textrnn serve` on rows of very different length.

    python benchmarks/memory.py exports/tags exports/reviews exports/plays exports/pairs [--limit 4096]

For each export: the peak of `predict` on one long line, alone and with 63 short ones. Then a server of each
export whose address space is limited, which gets the largest requests that come to mind, over REST and gRPC.
Each must be answered or refused, and the server must be healthy after it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import resource
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MB = 2**20
WORDS = "play jazz "
LONG = WORDS * 15_000
"""30,000 tokens."""
SHORT = ["play some jazz please"] * 63
LETTERS = string.ascii_letters
COMMAND = [sys.executable, "-m", "app"]


def peak_of_predict(export: Path, texts: list[str]) -> float:
    """Return the peak resident memory of `textrnn predict` in MB."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(texts) + "\n")
        file.flush()
        script = (
            "import resource, subprocess, sys;"
            "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        command = [
            sys.executable,
            "-c",
            script,
            *COMMAND,
            "predict",
            str(export),
            file.name,
            "--format",
            "txt",
        ]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(found.stdout) / 1024


class Server:
    """`textrnn serve` of one export within an address space of `limit` bytes."""

    def __init__(self, export: Path, limit: int) -> None:
        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

        self.process = subprocess.Popen(
            [*COMMAND, "serve", f"m={export}", "--rest-port", "0", "--grpc-port", "0"],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limited if limit else None,
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            event = json.loads(line) if line.startswith("{") else {"event": line.strip()}
            if event["event"] == "ready":
                self.rest, self.grpc = event["rest"], event["grpc"]
                break
        else:
            raise SystemExit(f"{export}: the server did not start")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()  # else it would block

    def memory(self) -> str:
        """Return the peaks of address space and resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        found = dict(line.split(":", 1) for line in status if line.startswith("Vm"))
        return " ".join(f"{name} {int(found[name].split()[0]) // 1024} MB" for name in ("VmPeak", "VmHWM"))

    def post(self, path: str, body: Any) -> str:
        """Return the status of a request and the start of the answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            status, answer = self._ask("POST", f"/v1/models/m:{path}", data)
        except (OSError, http.client.HTTPException) as error:
            return f"no answer: {error!r}"
        return f"{status} {len(answer):,} bytes" if status == 200 else f"{status} {answer[:160].decode()}"

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.rest.removeprefix("http://"), timeout=120)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def call(self, signature: str, inputs: dict[str, Any]) -> str:
        """Return the status of a request over gRPC."""
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "m", signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(self.grpc, options) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            try:
                return f"OK {stub.Predict(request, timeout=120).ByteSize():,} bytes"
            except grpc.RpcError as error:
                return f"{error.code().name} {error.details()[:160]}"

    @property
    def healthy(self) -> bool:
        """Whether the server lives."""
        try:
            return self._ask("GET", "/healthz")[0] == 200 and self.process.poll() is None
        except (OSError, http.client.HTTPException):
            return False

    def close(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.wait()


def requests(task: str) -> Iterator[tuple[str, str, Any]]:
    """Yield a name, `rest` or `grpc`, and a request for each of the largest requests."""
    text = "prompt" if task == "generation" else "text"
    sampling = {"length": 20, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 1}

    def rows(texts: list[str], signature: str = "serving_default", **more: Any) -> dict[str, Any]:
        options = dict(sampling) if task == "generation" and signature == "serving_default" else {}
        return {
            "signature_name": signature,
            "instances": [{text: one, **options, **more} for one in texts],
        }

    huge = WORDS * 90_000
    dense = "!?" * 80_000
    distinct = [a + b + c for a in LETTERS for b in LETTERS for c in LETTERS][:39_000]
    yield "90,000 × 'play jazz ' with 63 short", "predict", rows([huge, *SHORT])
    yield "30,000 tokens", "predict", rows([LONG])
    yield "30,000 tokens with 63 short", "predict", rows([LONG, *SHORT])
    yield "160,000 tokens of one byte", "predict", rows([dense])
    yield "64 texts of 65 kB, a token a byte", "predict", rows([dense[:65_000]] * 64)
    yield "1,000 texts of 16 kB", "predict", rows([LONG[:16_000]] * 1000)
    yield "one word of 160 kB", "predict", rows(["a" * 160_000])
    yield "39,000 distinct words, one of them long", "predict", rows([" ".join([*distinct, "b" * 40])])
    yield "empty arrays", "predict", b'{"inputs": {"%s": [%s"a"]}}' % (text.encode(), b'"",' * 3_000_000)
    yield "nested arrays", "predict", b'{"instances": [%s[]]}' % (b"[]," * 5_000_000)
    yield "16 MB of numbers", "predict", b'{"instances": [%s0.5]}' % (b"0.5," * 4_000_000)
    if task == "classification":
        yield "explain, 160 kB", "predict", rows([dense], "explain")
        yield "explain, 1,000 texts", "predict", rows([LONG[:16_000]] * 1000, "explain")
        examples = [{"text": LONG[:16_000]}] * 1000
        yield "classify, 1,000 texts", "classify", {"examples": examples}
    if task == "tagging":
        tokens = {"signature_name": "tokens", "inputs": {"tokens": [["a"] * 80_000]}}
        yield "80,000 tokens", "predict", tokens
        empty = {"signature_name": "tokens", "inputs": {"tokens": [["a"] + [""] * 130_000] * 8}}
        yield "8 × 130,000 empty tokens", "predict", empty
        many = [["a"] * 6000] * 64
        yield "64 × 6,000 tokens", "predict", {"signature_name": "tokens", "inputs": {"tokens": many}}
        scored = {"tokens": [["a"] * 40_000], "tags": [["O"] * 40_000]}
        yield "score, 40,000 tokens", "predict", {"signature_name": "score", "inputs": scored}
        scored = {"tokens": [["a"] * 10], "tags": [["O"] * 250_000]}
        yield "score, 250,000 tags of 10 tokens", "predict", {"signature_name": "score", "inputs": scored}
    if task == "generation":
        yield "score, 160 kB", "predict", {"signature_name": "score", "inputs": {"text": [dense]}}
        beam = {
            "prompt": ["a"] * 1000,
            "length": [10_000] * 1000,
            "width": 100,
            "length_penalty": 0.0,
            "stop": [],
        }
        yield "1,000 beams of 100", "predict", {"signature_name": "beam", "inputs": beam}
        yield "1,000 × 10,000 characters", "predict", rows(["a"] * 1000, length=10_000)
        yield "begin, 160 kB", "predict", {"signature_name": "begin", "inputs": {"prompt": [dense]}}
        yield "stream, 160 kB", "generate", {"prompt": dense, "length": 5}
    if task == "translation":
        search = {"text": [LONG] * 8, "width": 100, "length_penalty": 1.0, "coverage_penalty": 0.5}
        yield "search of 100", "predict", {"signature_name": "search", "inputs": search}
        search = {**search, "text": [LONG[:2000]] * 8}
        yield "search of 100, 2 kB", "predict", {"signature_name": "search", "inputs": search}
        pair = {"text": [LONG[:80_000]], "target": [dense[:79_000]]}
        yield "score, 80 kB each", "predict", {"signature_name": "score", "inputs": pair}
        attended = {"text": [LONG[:2000]] * 512}
        yield "attention, 512 texts", "predict", {"signature_name": "attention", "inputs": attended}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exports", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, default=4096, help="MB of address space; 0: none")
    parser.add_argument("--no-predict", action="store_true")
    parser.add_argument("--only", default="", help="part of the names of the requests that are sent")
    arguments = parser.parse_args()
    for export in arguments.exports:
        version = max(export.glob("*/assets.extra/manifest.json"))
        task = json.loads(version.read_text())["task"]
        if not arguments.no_predict:
            alone, together = peak_of_predict(export, [LONG]), peak_of_predict(export, [LONG, *SHORT])
            print(f"{task}: predict {alone:.0f} MB alone, {together:.0f} MB with 63, {together / alone:.2f}")
        server = Server(export, arguments.limit * MB)
        print(f"{task}: serve, ready: {server.memory()}", flush=True)
        for name, method, body in requests(task):
            if arguments.only not in name:
                continue
            began = time.monotonic()
            found = server.post(method, body)
            healthy = "" if server.healthy else "  DEAD"
            seconds = time.monotonic() - began
            memory = server.memory() if not healthy else ""
            print(f"{task}: {name}: {found} ({seconds:.1f} s) {memory}{healthy}", flush=True)
            if healthy:
                server = Server(export, arguments.limit * MB)
        text = "prompt" if task == "generation" else "text"
        if task != "generation":
            for name, texts in (("K", [WORDS * 90_000, *SHORT]), ("30,000 tokens", [LONG, *SHORT])):
                found = server.call("serving_default", {text: texts})
                print(
                    f"{task}: gRPC, {name}: {found} {server.memory() if server.healthy else 'DEAD'}",
                    flush=True,
                )
        server.close()


if __name__ == "__main__":
    main()
