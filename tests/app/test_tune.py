"""`textrnn tune`: trials within a budget, what is searched, and how an interrupted search continues."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from trained import PLAIN, metrics, overrides

import app.tune
from app.artifacts.lock import locked
from app.artifacts.run import open_run, read_run_manifest
from app.config import load_config
from app.config.differences import value_of
from app.tasks import TASKS, get_task
from app.tasks.search import Choices, Range
from app.terminal.duration import Duration
from app.training.events import Epoch
from app.tune import tune
from app.tuning.space import search_space, start_of
from app.tuning.trials import JOURNAL, Trials
from data.errors import UserError

Command = Callable[..., Result]

OWN = (*PLAIN, "model.embedding_size=4", "training.epochs=2", "training.batch_size=8")
REMOVED = [f"{key}=" for key in get_task("classification").search]
POOLING = ("model.pooling=max,mean",)
"""Two points, as `--search`."""


def tuned(
    reviews: Path, run: Path, *search: str, own: Sequence[str] = OWN, budget: float = 1e6, **options: Any
) -> dict[str, Any] | None:
    """Search with tiny networks."""
    removed = [
        text for text in REMOVED if text.removesuffix("=") not in {s.partition("=")[0] for s in search}
    ]
    return tune(
        "classification",
        str(reviews),
        budget=budget,
        run=run,
        search=[*removed, *search],
        overrides=own,
        **options,
    )


class Epochs:
    """A watcher that counts epochs, and asks to stop after some."""

    def __init__(self, most: int = 99) -> None:
        self.most = most
        self.seen: list[Epoch] = []

    def __call__(self, event: object) -> None:
        if isinstance(event, Epoch):
            self.seen.append(event)

    def stop(self) -> bool:
        return len(self.seen) >= self.most


def test_all_points_of_a_small_space(reviews: Path, tmp_path: Path) -> None:
    """The configuration comes first, each point is tried once, and the best run is a run like any other."""
    table = tuned(reviews, tmp_path / "run", "model.pooling=max,mean", "model.embedding_size=3..4")

    assert table is not None
    points = [tuple(row["values"].values()) for row in table["rows"]]
    assert points[0] == ("mean", 4)
    assert sorted(points) == [("max", 3), ("max", 4), ("mean", 3), ("mean", 4)]
    for row in table["rows"]:
        run = open_run(tmp_path / "run" / row["run"])
        assert {key: value_of(run.config, key) for key in row["values"]} == row["values"]
        assert row["value"] == max(
            line["validation_accuracy"] for line in metrics(run.path) if "best" in line
        )
        assert (row["state"], row["epochs"]) == ("finished", 2)
        assert row["seconds"] > 0
    best = max(table["rows"], key=lambda row: row["value"])
    assert table["best"] == best["trial"]
    assert (tmp_path / "run/best/model.keras").read_bytes() == (
        tmp_path / "run" / best["run"] / "model.keras"
    ).read_bytes()
    assert (
        value_of(open_run(tmp_path / "run/best").config, "model.pooling") == best["values"]["model.pooling"]
    )
    assert (tmp_path / "run/best/README.md").is_file()
    assert json.loads((tmp_path / "run/tune.json").read_text()) == table
    assert table["seconds"] == pytest.approx(sum(row["seconds"] for row in table["rows"]))


def test_a_stopped_search_goes_on(reviews: Path, tmp_path: Path) -> None:
    """The training that was stopped is resumed, and what is finished is not repeated."""
    first, then = Epochs(3), Epochs()
    stopped = tuned(reviews, tmp_path / "run", *POOLING, watcher=first, should_stop=first.stop)
    sentences: list[str] = []
    table = tuned(reviews, tmp_path / "run", *POOLING, watcher=then, note=sentences.append)
    again = tuned(reviews, tmp_path / "run", *POOLING)

    assert stopped is None
    assert table is not None
    assert (len(first.seen), len(then.seen)) == (3, 1)
    assert [text.partition(",")[0] for text in sentences] == ["trial 1 resumed"]
    assert [row["state"] for row in table["rows"]] == ["finished", "finished"]
    assert again == table


KILLED = """
import os, sys
from test_tune import POOLING, Epochs, Path, tuned
epochs = Epochs()
def watch(event):
    epochs(event)
    if len(epochs.seen) == 3:
        os.kill(os.getpid(), 9)
tuned(Path(sys.argv[1]), Path(sys.argv[2]), *POOLING, watcher=watch)
"""


def test_a_killed_search_goes_on(
    process: Callable[..., Any], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `kill -9`, with half a line in its file and a lock without an owner, the search continues."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    killed = process("-c", KILLED, reviews, tmp_path / "run", cwd=tmp_path)
    with (tmp_path / "run" / JOURNAL).open("a") as file:
        file.write('{"op_code":8,"worker_id"')
    (tmp_path / "run" / f"{JOURNAL}.lock").symlink_to(JOURNAL)
    epochs = Epochs()
    table = tuned(reviews, tmp_path / "run", *POOLING, watcher=epochs)

    assert killed.returncode == -9, killed.stderr
    assert table is not None
    assert len(epochs.seen) == 1
    assert [(row["state"], row["epochs"]) for row in table["rows"]] == [("finished", 2)] * 2


class Clock:
    """A clock that an epoch moves by 10 seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self, event: object) -> None:
        if isinstance(event, Epoch):
            self.now += 10


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return a clock that the search reads."""
    clock = Clock()

    class Time:
        @staticmethod
        def monotonic() -> float:
            return clock.now

    monkeypatch.setattr(app.tune, "time", Time)
    return clock


RATES = "training.learning_rate=1e-3..1e-1:log"


def test_no_trial_begins_that_cannot_finish(reviews: Path, tmp_path: Path, clock: Clock) -> None:
    """Trials of 20 seconds: two in 59 seconds, and after 20 seconds more a third one."""
    table = tuned(reviews, tmp_path / "run", RATES, budget=59, watcher=clock)
    assert table is not None
    assert [row["seconds"] for row in table["rows"]] == [20, 20]

    table = tuned(reviews, tmp_path / "run", RATES, budget=79, watcher=clock)

    assert table is not None
    assert [row["seconds"] for row in table["rows"]] == [20, 20, 20]
    assert len({row["values"]["training.learning_rate"] for row in table["rows"]}) == 3
    assert table["seconds"] == 60


def test_the_budget_ends_a_training(reviews: Path, tmp_path: Path, clock: Clock) -> None:
    """Its best epoch counts and is a complete run; with a longer budget the training goes on."""
    own = (*OWN, "training.epochs=4")
    table = tuned(reviews, tmp_path / "run", RATES, own=own, budget=15, watcher=clock)
    best = open_run(tmp_path / "run/best")

    assert table is not None
    assert [(row["state"], row["epochs"]) for row in table["rows"]] == [("unfinished", 2)]
    assert len([line for line in metrics(best.path) if "best" in line]) == 2
    assert any("budget" in change for change in best.manifest.changes)
    assert not read_run_manifest(tmp_path / "run/trials/0000").complete

    table = tuned(reviews, tmp_path / "run", RATES, own=own, budget=45, watcher=clock)

    assert table is not None
    assert [(row["state"], row["epochs"], row["seconds"]) for row in table["rows"]] == [("finished", 4, 40)]
    assert open_run(tmp_path / "run/best").manifest.changes == []


def test_the_budget_ends_before_the_first_epoch(reviews: Path, tmp_path: Path, clock: Clock) -> None:
    """There is nothing to keep: the error says how to continue, and so it does."""

    def slow(event: object) -> None:
        clock.now += 10

    with pytest.raises(UserError, match=r"budget of 5 s ended before the first epoch; .* longer --budget"):
        tuned(reviews, tmp_path / "run", RATES, budget=5, watcher=slow)

    table = tuned(reviews, tmp_path / "run", RATES, budget=45, watcher=clock)
    assert table is not None
    assert [row["state"] for row in table["rows"]] == ["finished"]


def test_values_with_which_training_fails(reviews: Path, tmp_path: Path) -> None:
    """A trial whose loss is not finite is a row with the reason; the others count."""
    own = (*OWN, "training.clip_norm=0", "training.warmup=0")
    sentences: list[str] = []
    table = tuned(
        reviews, tmp_path / "run", "training.learning_rate=0.003,1e38", own=own, note=sentences.append
    )

    assert table is not None
    assert [(row["state"], row["value"] is None) for row in table["rows"]] == [
        ("finished", False),
        ("failed", True),
    ]
    assert "loss is not finite" in table["rows"][1]["error"]
    assert table["best"] == 0
    assert any(text.startswith("trial 1 failed: the loss is not finite") for text in sentences)


def test_a_failure_of_the_first_trial_is_an_error(reviews: Path, tmp_path: Path) -> None:
    """What is wrong with the configuration as it is, or with the data, is said at once."""
    own = (*OWN, "training.clip_norm=0", "training.warmup=0", "training.learning_rate=1e38")
    with pytest.raises(UserError, match="loss is not finite"):
        tuned(reviews, tmp_path / "run", "model.pooling=max,mean", own=own)
    with pytest.raises(UserError, match="nowhere"):
        tuned(tmp_path / "nowhere", tmp_path / "other", "model.pooling=max,mean")


def test_trials_are_stopped_early(tmp_path: Path) -> None:
    """A trial that is worse than the median at its epoch is stopped, but not at first, nor at its end."""
    space = {"model.dropout": Range(0.0, 0.9)}
    trials = Trials(tmp_path, space, {"model.dropout": 0.5}, higher_is_better=False, seed=0)
    for loss in (1.0, 1.1, 1.2, 1.3):
        trial = trials.begin()
        assert trial is not None
        assert not any(trials.report(trial, epoch, 6, loss / epoch) for epoch in range(1, 7))
        trials.finish(trial, loss / 6)
    trial = trials.begin()
    assert trial is not None

    assert not trials.report(trial, 1, 6, 9.0)
    assert trials.report(trial, 2, 6, 1.16 / 2)
    assert not trials.report(trial, 3, 6, 1.14 / 3)
    assert not trials.report(trial, 6, 6, 9.0)
    assert trials.all[0].params == {"model.dropout": 0.5}


def test_a_run_of_another_search(reviews: Path, tmp_path: Path) -> None:
    """Another configuration, space or kind of folder is refused, as is a folder that another process uses."""
    (tmp_path / "other").mkdir()
    assert tuned(reviews, tmp_path / "run", *POOLING)

    with pytest.raises(UserError, match=r"another configuration: training.epochs was 2, is 3"):
        tuned(reviews, tmp_path / "run", *POOLING, own=(*OWN, "training.epochs=3"))
    with pytest.raises(UserError, match=r"another search space than that in space.json"):
        tuned(reviews, tmp_path / "run", "model.pooling=max,mean,last")
    with pytest.raises(UserError, match=r"not a folder of 'textrnn tune'; give another --run"):
        tuned(reviews, tmp_path / "other", *POOLING)
    with (
        locked(tmp_path / "run", app.tune.LOCK),
        pytest.raises(UserError, match=r"wait until it ends, or stop it and run the command again$"),
    ):
        tuned(reviews, tmp_path / "run", *POOLING)


def test_several_workers(reviews: Path, tmp_path: Path) -> None:
    """One process trains all trials; nothing is written."""
    with pytest.raises(UserError, match=r"textrnn tune trains in one process; set it to single or mirrored"):
        tuned(reviews, tmp_path / "run", *POOLING, own=(*OWN, "training.strategy=multi_worker"))
    assert not (tmp_path / "run").exists()


def test_without_optuna(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The missing package and its extra are named, and nothing is written."""
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(UserError, match=r"tune needs optuna; pip install 'textrnn\[tune\]'"):
        tuned(reviews, tmp_path / "run", *POOLING)
    assert not (tmp_path / "run").exists()


def test_other_data(reviews: Path, tmp_path: Path) -> None:
    """Trials on other examples than the first one are not compared with it."""
    data = tmp_path / "data"
    shutil.copytree(reviews, data)
    stop = Epochs(3)
    tuned(data, tmp_path / "run", *POOLING, watcher=stop, should_stop=stop.stop)
    lines = (data / "train.jsonl").read_text().splitlines(keepends=True)
    (data / "train.jsonl").write_text("".join(lines[:-1]))

    with pytest.raises(UserError, match=r"trials/0001: cannot be resumed: it was trained on other data"):
        tuned(data, tmp_path / "run", *POOLING)
    shutil.rmtree(tmp_path / "run/trials/0001")
    with pytest.raises(UserError, match=r"is not the data of the first trial: dataset_hash was"):
        tuned(data, tmp_path / "run", *POOLING)


def hparams(run: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the hyper-parameters of a run as TensorBoard reads them, and the metrics that are compared."""
    found = EventAccumulator(str(run / "tensorboard")).Reload().summary_metadata
    read = {
        tag: HParamsPluginData.FromString(own.plugin_data.content)
        for tag, own in found.items()
        if own.plugin_data.plugin_name == "hparams"
    }
    values = read["_hparams_/session_start_info"].session_start_info.hparams
    infos = read["_hparams_/experiment"].experiment.metric_infos
    kinds = {key: own.WhichOneof("kind") for key, own in values.items()}
    return {key: getattr(values[key], kind) for key, kind in kinds.items()}, [m.name.tag for m in infos]


def test_command(command: Command, reviews: Path, tmp_path: Path) -> None:
    """The command prints the trials, the best one first, draws them, and TensorBoard has the values."""
    removed = [word for text in REMOVED if "pooling" not in text for word in ("--search", text)]
    words = ("tune", "classification", reviews, "--run", tmp_path / "run", "--budget", "1h", *removed)
    words = (*words, "--search", "model.pooling=max,mean", *overrides(*OWN))
    result = command(*words)
    again = command(*words, "--json")

    assert result.exit_code == 0, result.stderr
    table = json.loads(again.stdout)
    lines = result.stdout.splitlines()
    assert lines[2].split() == ["trial", "accuracy", "epochs", "training,", "s", "model.pooling"]
    assert lines[3].split()[0] == str(table["best"])
    best = next(row for row in table["rows"] if row["trial"] == table["best"])
    assert lines[3].split()[-2:] == ["finished", best["values"]["model.pooling"]]
    first = table["rows"][0]["value"]
    assert lines[-1].endswith(f"{first:.4f} of the first one, which has the configuration as it is")
    assert f"{tmp_path / 'run/best'}: the best run" in result.stderr
    assert (tmp_path / "run/tune.svg").read_text().startswith("<?xml")
    for row in table["rows"]:
        run = tmp_path / "run" / row["run"]
        assert hparams(run) == (row["values"], ["validation_accuracy"])
        assert "validation_accuracy" in EventAccumulator(str(run / "tensorboard")).Reload().Tags()["tensors"]
    evaluated = command("evaluate", tmp_path / "run/best", "--split", "validation", "--json", "--no-baseline")
    assert json.loads(evaluated.stdout)["accuracy"] == max(row["value"] for row in table["rows"])


def load(task: str, *own: str) -> Callable[[Sequence[str]], Any]:
    return lambda more: load_config(task, overrides=[*own, *more])


@pytest.mark.parametrize("task", TASKS)
def test_the_space_of_a_task(task: str) -> None:
    """It has the defaults, which are the first point, and all its bounds are valid."""
    space, config = get_task(task).search, load_config(task)

    assert search_space(task, [], [], load(task)) == space
    assert start_of(space, config) == {key: value_of(config, key) for key in space}
    for key, dimension in space.items():
        values = dimension.values if isinstance(dimension, Choices) else (dimension.low, dimension.high)
        for value in values:
            shown = str(value).lower() if isinstance(value, bool) else value
            assert value_of(load_config(task, overrides=[f"{key}={shown}"]), key) == value


def test_changes_of_the_space() -> None:
    """What is set is not searched, configured values are added, and `--search` adds, replaces and removes."""
    own = ["model.cell=gru", "model.units=48"]
    search = [
        *("model.layers=1..3", "training.learning_rate=1e-4..1e-2:log", "model.dropout=", "model.units=8,16"),
        "model.locked_dropout=true,false",
    ]
    config = load("classification", *own, "model.embedding_size=48", "model.word_dropout=0.6")
    space = search_space("classification", search, own, config)

    assert "model.cell" not in space
    assert "model.dropout" not in space
    assert space["model.layers"] == Range(1, 3)
    assert space["model.locked_dropout"] == Choices((True, False))
    assert space["training.learning_rate"] == Range(1e-4, 1e-2, log=True)
    assert space["model.embedding_size"] == Choices((32, 64, 128, 48))
    assert space["model.word_dropout"] == Range(0.0, 0.6)
    assert start_of(space, config([])) == {
        **{key: value_of(config([]), key) for key in space},
        "model.units": 8,
    }


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (["model.units"], r"--search 'model.units': expected KEY=VALUES"),
        (["=1,2"], r"expected KEY=VALUES"),
        (["model.unit=8,16"], r"model.unit.*model.units"),
        (["model=8,16"], r"model"),
        (["model.units=8"], r"one value is no search; .* --set model.units=8"),
        (["model.units=8,x"], r"model.units.*x"),
        (["model.units=0..8"], r"model.units.*0"),
        (["model.units=8..8"], r"8 is not less than 8"),
        (["model.dropout=0..0.5:log"], r"logarithmic range begins above 0, not at 0.0"),
        (["model.cell=gru..lstm"], r"model.cell is no number; give its values as model.cell=A,B"),
        (["seed=1,2"], r"seed cannot be searched, since it changes what is measured"),
        (["data.split=hash,random"], r"data.split cannot be searched"),
        (["training.early_stopping_metric=loss,accuracy"], r"cannot be searched"),
        (["model.units=8,9", "model.units=10,11"], r"model.units was given before"),
        (REMOVED, r"nothing to search"),
    ],
    ids=[
        *(
            "no values",
            "no key",
            "unknown",
            "section",
            "one",
            "number",
            "bound",
            "equal",
            "log",
            "names",
            "seed",
        ),
        *("data", "metric", "twice", "nothing"),
    ],
)
def test_what_cannot_be_searched(search: list[str], message: str) -> None:
    """All mistakes are found before the first training."""
    with pytest.raises(UserError, match=message):
        search_space("classification", search, [], load("classification"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1h30m", 5400), ("1h1s", 3601)],
)
def test_times(text: str, seconds: float) -> None:
    """A time is a number of seconds, or numbers with units."""
    assert Duration()(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "5d", "m", "1m1h", "nan", "9999999h"])
def test_no_times(command: Command, tmp_path: Path, text: str) -> None:
    """Anything else is a wrong command line."""
    result = command("tune", "classification", "sample:reviews", "--run", tmp_path / "run", "--budget", text)

    assert result.exit_code == 2
    assert f"{text!r} is not a time up to a year, such as 30m, 90s or 1h30m" in result.stderr
    assert not (tmp_path / "run").exists()
