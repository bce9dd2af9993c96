"""The PyTorch part of `latency.py`: the same layers and weights, eager, one text at a time.

It needs an environment with PyTorch and NumPy: `python torch_worker.py FOLDER [THREADS]`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch


class Classifier(torch.nn.Module):
    """Embedding, recurrent layers, maximum and mean over the time steps, and a dense layer."""

    def __init__(self, folder: Path) -> None:
        """Read sizes and weights."""
        super().__init__()
        settings = json.loads((folder / "settings.json").read_text())
        weights = np.load(folder / "weights.npz")
        cell, units = settings["cell"], settings["units"]
        self.embedding = torch.nn.Embedding(settings["vocabulary_size"], settings["embedding_size"])
        self.recurrent = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "simple": torch.nn.RNN}[cell](
            settings["embedding_size"],
            units,
            num_layers=settings["layers"],
            bidirectional=settings["bidirectional"],
            batch_first=True,
        )
        width = units * (2 if settings["bidirectional"] else 1)
        self.head = torch.nn.Linear(2 * width, settings["classes"])
        with torch.no_grad():
            self.embedding.weight.copy_(torch.from_numpy(weights["embedding"]))
            self.head.weight.copy_(torch.from_numpy(weights["head_kernel"].T))
            self.head.bias.copy_(torch.from_numpy(weights["head_bias"]))
            for i in range(settings["layers"]):
                for name, suffix in (("forward", ""), ("backward", "_reverse")):
                    if f"{name}_{i}_kernel" in weights:
                        self._copy(weights, f"{name}_{i}", f"l{i}{suffix}", cell)

    def _copy(self, weights: dict[str, np.ndarray], own: str, theirs: str, cell: str) -> None:
        bias = weights[f"{own}_bias"]
        biases = list(bias) if bias.ndim == 2 else [bias, np.zeros_like(bias)]
        parts = {
            "weight_ih": weights[f"{own}_kernel"].T,
            "weight_hh": weights[f"{own}_recurrent_kernel"].T,
            "bias_ih": biases[0],
            "bias_hh": biases[1],
        }
        for name, value in parts.items():
            if cell == "gru":  # PyTorch has the reset gate first
                update, reset, candidate = np.split(value, 3)
                value = np.concatenate([reset, update, candidate])
            getattr(self.recurrent, f"{name}_{theirs}").copy_(torch.from_numpy(np.ascontiguousarray(value)))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return probabilities [B, classes] for token ids [B, T]."""
        sequences, _ = self.recurrent(self.embedding(ids))
        pooled = torch.cat([sequences.amax(dim=1), sequences.mean(dim=1)], dim=1)
        return torch.softmax(self.head(pooled), dim=1)


def main() -> None:
    """Predict for rows of ids, one at a time, and print the seconds of each."""
    if len(sys.argv) > 2:
        torch.set_num_threads(int(sys.argv[2]))
    model = Classifier(Path(sys.argv[1])).eval()
    rows = json.loads(sys.stdin.readline())
    inputs = [torch.tensor([row["ids"]]) for row in rows]
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        seconds, labels = [], []
        with torch.inference_mode():
            for ids in inputs:
                begun = time.perf_counter()
                scores = model(ids).numpy()
                seconds.append(time.perf_counter() - begun)
                labels.append(int(scores[0].argmax()))
        print(json.dumps({"seconds": seconds, "labels": labels}), flush=True)


if __name__ == "__main__":
    main()
