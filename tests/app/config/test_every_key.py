"""Each key of each task changes something that can be observed: none is accepted and ignored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

from app.artifacts.preprocessing import Preprocessing
from app.config import TaskConfig, get_config_class, load_config
from app.config.differences import value_of
from app.config.keys import keys_of
from app.tasks import TASKS, get_task
from app.tasks.opening import open_data
from app.train import train
from app.training.encode import encode_dataset
from app.training.epochs import resolve_epochs
from app.training.network import new_model
from app.training.objective import Objective
from app.training.optimizer import build_optimizer, clip
from data.encoding import Encoded
from data.errors import UserError
from data.prepared import Dataset, prepare
from models.kernels.choice import choose
from models.text.tokens import END_ID

Write = Callable[[Path, list[dict[str, object]]], None]

COLOURS = ["Red", "green", "blue", "red", "Blue", "violet"]


def examples(task: str) -> list[dict[str, object]]:
    """Return a few examples of a task; each has a second column for every column that a key may name."""
    pairs = [(first, second) for first in COLOURS for second in COLOURS]
    # The last word occurs in two texts, each once.
    texts = [f"{first} {second} sky {first} {chr(945 + i // 2)}" for i, (first, second) in enumerate(pairs)]
    if task == "tagging":
        return [
            {
                "tokens": text.split(),
                "upos": ["B-colour", "I-colour", "B-sky", "B-colour", "O"],
                "tag_column": ["X" if token == "red" else "Y" for token in text.split()],
                "text": text,
                "text_column": f"{text} ",
                "label": "red" if "Red" in text else "other",
                "label_column": "blue" if "Blue" in text else "other",
            }
            for text in texts
        ]
    return [
        {
            "text": text,
            "text_column": f"{text} indeed",
            "label": "red" if "Red" in text else "other",
            "label_column": "blue" if "Blue" in text else "other",
            "source": " ".join(text.split()[-1 - i % 5 :]),
            "target": " ".join(text.split()[-1 - i % 2 :]),
            "data.source": f"{text} indeed",
            "data.target": text.upper(),
        }
        for i, text in enumerate(texts)
    ]


SMALL = {
    task: [
        *("model.units=3", "model.embedding_size=3", "training.batch_size=4", "training.epochs=2"),
        *("model.dropout=0.1", "model.layers=1", "data.validation_fraction=0.3"),
        *more,
    ]
    for task, more in {
        "classification": ["text.max_length=3"],
        "tagging": ["model.character_units=2", "model.character_embedding_size=2"],
        "generation": ["training.sequence_length=5"],
        "translation": ["text.tokens=word", "text.max_length=4", "decoding.beam=2"],
    }.items()
}


class Pipeline:
    """What a configuration of a task leads to on the way from examples to a model."""

    def __init__(self, task: str, folder: Path, *overrides: str) -> None:
        self.name = task
        self.task = get_task(task)
        self.folder = folder
        self.config: TaskConfig = load_config(
            task, overrides=[*SMALL[task], f"data.directory={folder / 'cache'}", *overrides]
        )

    def dataset(self, data: str = "data") -> Dataset:
        """Return the prepared dataset of a folder or a file."""
        source, fields, config = open_data(str(self.folder / data), self.task, self.config)
        return prepare(
            source,
            fields,
            directory=config.data_directory(),
            splitting=config.splitting(),
            validator=self.task.examples.validator(config),
        )

    def file(self) -> str:
        """Return all that is read of a single file, or why it is not read."""
        try:
            dataset = self.dataset("file.conll" if self.name == "tagging" else "file.csv")
        except UserError as error:
            return str(error)
        batches = [[v.tolist() for v in batch.values()] for batch in dataset.batches("all")]
        return repr((batches, dataset.names, dataset.sizes))

    def examples(self) -> str:
        """Return all that is read of the training examples."""
        dataset = self.dataset()
        batches = [{k: v.tolist() for k, v in batch.items()} for batch in dataset.batches("train")]
        return repr((batches, dataset.names))

    def encoded(self) -> tuple[Encoded, Preprocessing[Any]]:
        """Return token ids, and vocabularies with what else preprocessing needs."""
        dataset = self.dataset()
        encoded, _ = encode_dataset(dataset, self.task, self.config, self.config.data_directory())
        return encoded, self.task.examples.preprocessing(encoded, dataset, self.config)

    def batches(self) -> str:
        """Return vocabularies, and the batches of the first epoch."""
        encoded, preprocessing = self.encoded()
        feed = self.task.examples.batches(encoded, "train", preprocessing, self.config)
        entries = feed.epoch(self.config.seed, 0)
        arrays = [{k: v.tolist() for k, v in feed.batch(entry).arrays.items()} for entry in entries]
        return repr((preprocessing.vocabularies, len(encoded.splits["validation"]), arrays))

    def known(self) -> str:
        """Return the facts of the preprocessing."""
        return repr(self.encoded()[1].facts)

    def model(self) -> tuple[keras.Model, str]:
        """Return a new model, and the shapes and the values of its weights."""
        encoded, preprocessing = self.encoded()
        counts = self.task.examples.token_counts(encoded, preprocessing, self.config)
        model = new_model(self.task, self.config, preprocessing, counts)
        values = [(v.path, v.shape, v.numpy().tolist()) for v in model.trainable_variables]
        return model, hashlib.sha256(repr((values, model.dtype_policy.name)).encode()).hexdigest()

    def loss(self) -> str:
        """Return the weights of a new model, and its training loss on the batch of the longest examples."""
        encoded, preprocessing = self.encoded()
        model, weights = self.model()
        feed = self.task.examples.batches(encoded, "train", preprocessing, self.config)
        batches = [feed.batch(entry) for entry in feed.epoch(0, 0)]
        longest = max(batches, key=lambda batch: batch.tokens)
        batch = {name: tf.constant(array) for name, array in longest.arrays.items()}
        keras.utils.set_random_seed(0)
        carried = self.task.training.carried(model, feed)
        losses = Objective(self.task, model, self.config, carried).losses(batch)
        return repr((weights, float(losses.loss)))

    def started(self) -> str:
        """Return the weights of a new model that are computed from the training examples."""
        encoded, preprocessing = self.encoded()
        model, _ = self.model()
        feed = self.task.examples.batches(encoded, "train", preprocessing, self.config)
        for _ in self.task.training.start(model, feed, preprocessing, self.config):
            pass
        return repr([(v.path, v.numpy().tolist()) for v in model.non_trainable_variables])

    def policy(self) -> str:
        """Return the dtype policy of a new model."""
        return str(self.model()[0].dtype_policy.name)

    def updates(self) -> str:
        """Return the values of a weight in 20 steps of clipping and optimizer with given gradients."""
        weight = keras.Variable([0.5, -0.5, 1.0])
        optimizer = build_optimizer(self.config.training, 20)
        optimizer.build([weight])
        values = []
        for step in range(20):
            (gradient,), *_ = clip([tf.constant([3.0, 0.01, step % 3])], self.config.training)
            optimizer.apply_gradients([(gradient, weight)])
            values.append((gradient.numpy().tolist(), weight.numpy().tolist()))
        return repr(values)

    def decoded(self) -> str:
        """Return what the model predicts: long outputs, and short ones that leave source tokens out."""
        module = tf.Module()
        model, _ = self.model()
        _, preprocessing = self.encoded()
        size = len(preprocessing.vocabularies["target_vocabulary"])
        biases = [variable for variable in model.trainable_variables if variable.shape == (size,)]
        outputs = []
        tf.config.run_functions_eagerly(True)  # no graph is needed for a few calls
        try:
            signatures = self.task.predictions.signatures(module, model, preprocessing, self.config)
            signature = signatures["serving_default"].function
            for end in (0.0, 2.5):
                for bias in biases:
                    bias.assign(end * tf.one_hot(END_ID, size))
                outputs.append(signature(tf.constant(TO_PREDICT)))
        finally:
            tf.config.run_functions_eagerly(False)
        return repr([{name: value.numpy().tolist() for name, value in o.items()} for o in outputs])


def table(task: str) -> str:
    """Return the examples of a task as sentences, or as a table."""
    if task == "tagging":
        rows = [
            "\n".join(map("\t".join, zip(row["tokens"], row["upos"], strict=True))) for row in examples(task)
        ]
        return "\n\n".join(rows) + "\n"
    columns = ["text", "label", "source", "target"]
    lines = [",".join(columns), *(",".join(str(row[c]) for c in columns) for row in examples(task))]
    return "\n".join(lines) + "\n"


CHANGES: dict[str, dict[Callable[[Pipeline], str], dict[str, str]]] = {
    "all": {
        Pipeline.file: {
            "data.encoding": "latin-1",
            "data.delimiter": ";",
            "data.split": "random",
            "data.test_fraction": "0.4",
        },
        Pipeline.batches: {
            "data.validation_fraction": "0.5",
            "text.vocabulary_size": "5",
            "text.min_count": "3",
            "training.batch_size": "3",
        },
        Pipeline.loss: {
            "seed": "1",
            "model.cell": "gru",
            "model.units": "4",
            "model.layers": "2",
            "model.activation": "relu",
            "model.dropout": "0.9",
            "model.locked_dropout": "true",
            "model.recurrent_dropout": "0.9",
            "model.embedding_size": "4",
            "model.word_dropout": "0.95",
            "training.label_smoothing": "0.5",
        },
        Pipeline.policy: {"training.mixed_precision": "true"},
        Pipeline.updates: {
            "training.learning_rate": "0.01",
            "training.warmup": "0.5",
            "training.optimizer": "rmsprop",
            "training.clip_norm": "0.1",
            "training.clip_value": "0.05",
            "training.weight_decay": "0.1",
        },
    },
    "classification": {
        Pipeline.examples: {"data.text_column": "text_column", "data.label_column": "label_column"},
        Pipeline.file: {
            "data.header": "false",
            "data.labels": "several",
            "data.label_separator": "h",
            "data.label_columns": "label",
        },
        Pipeline.batches: {
            "text.tokens": "char",
            "text.lowercase": "false",
            "text.max_length": "2",
            "text.truncate": "end",
            "training.class_weights": "balanced",
        },
        Pipeline.loss: {
            "model.bidirectional": "false",
            "model.merge_mode": "sum",
            "model.pooling": "last",
            "model.rare_word_dropout": "0.9",
            "training.adversarial": "1",
            "training.virtual_adversarial": "1",
            "training.r_drop": "1",
            "training.mixup": "1",
        },
        Pipeline.started: {
            "model.ngrams": "1",
            "model.ngram_vocabulary_size": "2",
            "model.character_ngrams": "2",
        },
    },
    "tagging": {
        Pipeline.examples: {
            "data.text_column": "text_column",
            "data.label_column": "label_column",
            "data.tag_column": "tag_column",
        },
        Pipeline.file: {"data.token_column": "2", "data.header": "true"},
        Pipeline.batches: {"text.lowercase": "false", "training.exchange_spans": "1.0"},
        Pipeline.loss: {
            "model.bidirectional": "false",
            "model.merge_mode": "sum",
            "model.rare_word_dropout": "0.9",
            "model.character_features": "convolution",
            "model.character_embedding_size": "3",
            "model.character_units": "3",
            "model.crf": "false",
            "model.tag_scheme": "bioes",
            "training.adversarial": "1",
        },
        Pipeline.started: {"model.token_features": "9"},
    },
    "generation": {
        Pipeline.examples: {"data.text_column": "text_column", "data.label_column": "label_column"},
        Pipeline.file: {"data.header": "false"},
        Pipeline.batches: {
            "text.tokens": "word",
            "text.lowercase": "true",
            "training.sequence_length": "6",
        },
        Pipeline.loss: {
            "model.weight_dropout": "0.9",
            "model.tie_embeddings": "true",
            "training.sampled_softmax": "4",
        },
    },
    "translation": {
        Pipeline.examples: {"data.source": "data.source", "data.target": "data.target"},
        Pipeline.file: {"data.header": "false"},
        Pipeline.batches: {
            "text.tokens": "char",
            "text.lowercase": "true",
            "text.max_length": "3",
            "text.truncate": "middle",
            "text.shared": "true",
        },
        Pipeline.loss: {
            "model.bidirectional": "false",
            "model.merge_mode": "sum",
            "model.attention": "additive",
            "model.input_feeding": "false",
            "training.r_drop": "1",
            "model.tie_embeddings": "false",
        },
        Pipeline.decoded: {
            "decoding.beam": "1",
            "decoding.length_penalty": "0.0",
            "decoding.coverage_penalty": "1.0",
        },
        Pipeline.known: {"decoding.bleu_tokenizer": "char"},
    },
}
TO_PREDICT = [b"red", b"blue green", b"sky red violet", b"green sky sky blue"]
ALONE = {
    *("data.directory", "data.unlabelled", "model.embeddings", "text.tokenizer"),
    "model.pretrained",  # tests/app/training/test_pretrained.py
    "training.tracker",  # tests/app/training/test_tracker.py
    *("training.ema", "training.perturbation", "model.calibrated"),
    *("card.license", "card.language"),  # tests/app/test_card.py
    # tests/app/tasks/classification/test_rejection.py
    *("decision.precision", "decision.coverage", "decision.out_of_scope"),
    "training.strategy",  # tests/app/training/test_replicas.py
    # they need teachers: tests/app/test_distill.py
    *("training.distillation_weight", "training.distillation_temperature"),
}
LOOP = {
    "training.epochs",
    "training.schedule",
    "training.early_stopping_patience",
    "training.early_stopping_metric",
    "training.deterministic",
    "training.kernels",
    "training.steps_per_checkpoint",
}
CASES = {
    (task, path): (observe, value)
    for task in TASKS
    for group in ("all", task)
    for observe, changes in CHANGES.get(group, {}).items()
    for path, value in changes.items()
}

OBSERVATIONS = list(dict.fromkeys((task, what) for (task, _), (what, _) in CASES.items()))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, jsonl: Write) -> dict[str, Path]:
    """Return a folder of each task with its data."""
    folders = {task: tmp_path_factory.mktemp(task) for task in TASKS}
    for task, folder in folders.items():
        jsonl(folder / "data" / "train.jsonl", examples(task))
        name = "file.conll" if task == "tagging" else "file.csv"
        (folder / name).write_text(table(task), encoding="utf-8")
    return folders


@pytest.fixture(scope="module")
def observed(folders: dict[str, Path]) -> Callable[[str, Callable[[Pipeline], str]], str]:
    """Return a function that observes the configuration that the cases change one key of."""
    known: dict[tuple[str, str], str] = {}

    def observe(task: str, what: Callable[[Pipeline], str]) -> str:
        key = (task, what.__name__)
        if key not in known:
            known[key] = what(Pipeline(task, folders[task]))
        return known[key]

    return observe


def test_every_key_is_tested() -> None:
    """Together the tests change every key of every task."""
    for task in TASKS:
        keys = set(keys_of(get_config_class(task))) - {"task", "format"}
        assert {path for of, path in CASES if of == task} | ALONE & keys | LOOP == keys


@pytest.mark.parametrize(("task", "what"), OBSERVATIONS, ids=lambda value: getattr(value, "__name__", value))
def test_observations_are_reproducible(
    task: str,
    what: Callable[[Pipeline], str],
    folders: dict[str, Path],
    observed: Callable[[str, Callable[[Pipeline], str]], str],
) -> None:
    """Without a changed key nothing differs."""
    assert what(Pipeline(task, folders[task])) == observed(task, what)


@pytest.mark.parametrize(("task", "path"), CASES)
def test_a_key_changes_what_is_observed(
    task: str,
    path: str,
    folders: dict[str, Path],
    observed: Callable[[str, Callable[[Pipeline], str]], str],
) -> None:
    """With one key changed, examples, batches, weights, losses, updates or predictions differ."""
    what, value = CASES[task, path]
    changed = Pipeline(task, folders[task], f"{path}={value}")

    assert what(changed) != observed(task, what)


@pytest.mark.parametrize("task", TASKS)
def test_data_directory(task: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """`data.directory` is where the dataset is prepared."""
    Pipeline(task, folders[task], f"data.directory={tmp_path / 'own'}").dataset()

    assert list((tmp_path / "own").rglob("dataset_info.json"))


@pytest.mark.parametrize("task", TASKS)
def test_embeddings(task: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """`model.embeddings` names the file that the embedding starts from."""
    (tmp_path / "vectors.txt").write_text("blue 7 8 9\nb 7 8 9\n")
    pipeline = Pipeline(task, folders[task], f"model.embeddings={tmp_path / 'vectors.txt'}")
    model, _ = pipeline.model()

    table = pipeline.task.training.embedding(model).embeddings.numpy()

    assert [7.0, 8.0, 9.0] in table.tolist()


@pytest.mark.parametrize("task", ["classification", "tagging"])
def test_perturbation(task: str, folders: dict[str, Path]) -> None:
    """`training.perturbation` is the norm of what `training.adversarial` adds."""
    small, large = (
        Pipeline(task, folders[task], "training.adversarial=1", f"training.perturbation={norm}").loss()
        for norm in (0.01, 1)
    )

    assert small != large


@pytest.mark.parametrize("task", ["classification", "tagging"])
def test_calibrated(task: str, folders: dict[str, Path]) -> None:
    """`model.calibrated` adds the weight that scales the logits of labels."""
    without = ["model.ngrams=0"] if task == "classification" else []
    names = [
        [
            weight.name
            for weight in Pipeline(task, folders[task], *without, own).model()[0].non_trainable_weights
        ]
        for own in ("model.calibrated=true", "model.calibrated=false")
    ]

    assert len(set(names[0]) - set(names[1])) == 1


@pytest.fixture
def determinism(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that grows when deterministic operations are switched on, which is not done."""
    calls: list[bool] = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: calls.append(True))
    return calls


@pytest.mark.parametrize("task", TASKS)
def test_the_training_loop(
    task: str,
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    determinism: list[bool],
) -> None:
    """Keys of the training loop decide its length, its learning rates, its best epoch and its checkpoints."""
    names = keys_of(get_config_class(task))["training.early_stopping_metric"].choices
    losses = [2.0, 1.0, 1.5, 1.6, 1.7, 1.8, 1.9]

    def scripted(*_: object) -> Callable[[], dict[str, float]]:
        """Return an evaluator: the loss is best after the second epoch, all else gets ever better."""
        epochs = iter(range(len(losses)))

        def evaluate() -> dict[str, float]:
            epoch = next(epochs)
            return dict.fromkeys(names, epoch / 10) | {"loss": losses[epoch]}

        return evaluate

    monkeypatch.setattr(type(get_task(task).training), "evaluator", scripted)
    monkeypatch.setattr(type(get_task(task).training), "sampler", lambda *_: lambda epoch: "")

    def lines(name: str, *overrides: str) -> list[dict[str, Any]]:
        pipeline = Pipeline(
            task, folders[task], "training.batch_size=5", "training.learning_rate=0.01", *overrides
        )
        train(task, str(folders[task] / "data"), pipeline.config, run=tmp_path / name)
        text = (tmp_path / name / "metrics.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    first = lines(
        "first",
        *("training.epochs=7", "training.schedule=plateau", "training.early_stopping_patience=3"),
        *("training.early_stopping_metric=loss", "training.steps_per_checkpoint=1"),
        *("training.deterministic=true", "training.kernels=keras"),
    )
    switched_on = len(determinism)
    second = lines(
        "second",
        *("training.epochs=3", "training.schedule=constant", "training.early_stopping_patience=0"),
        *("training.early_stopping_metric=accuracy", "training.steps_per_checkpoint=0"),
    )
    kernels = [
        json.loads((tmp_path / of / "manifest.json").read_text())["kernels"] for of in ("first", "second")
    ]

    ends = [[line for line in of if "best" in line] for of in (first, second)]
    assert [len(of) for of in ends] == [5, 3]
    assert [max(line["epoch"] for line in of if line["best"]) for of in ends] == [2, 3]
    assert [round(line["learning_rate"], 6) for line in ends[0]] == [0.01, 0.01, 0.01, 0.01, 0.005]
    assert [round(line["learning_rate"], 6) for line in ends[1]] == [0.01, 0.01, 0.01]
    assert len(first) > len(ends[0])
    assert len(second) == len(ends[1])
    assert (switched_on, len(determinism)) == (1, 1)
    assert kernels == ["keras", choose("auto").name]


@pytest.mark.parametrize("task", TASKS)
def test_number_of_epochs(task: str) -> None:
    """`training.epochs` is the number of epochs; 0 is replaced by one that suits the number of tokens."""
    automatic, fixed = (load_config(task, overrides=[f"training.epochs={n}"]) for n in (0, 7))

    resolved = [resolve_epochs(config, 1000, to_learn_from=20_000) for config in (automatic, fixed)]

    assert [value_of(config, "training.epochs") for config in resolved] == [20, 7]
