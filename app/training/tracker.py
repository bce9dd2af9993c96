"""Experiment trackers, which get configuration and metrics of a training besides the run directory."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.artifacts.files import write_text
from app.artifacts.run import CONFIG, METRICS, read_run_manifest
from app.config import TaskConfig
from app.config.differences import value_of
from app.config.keys import keys_of
from app.extras import extra
from app.json_text import dumps

FINISHED, KILLED, FAILED = "FINISHED", "KILLED", "FAILED"
"""How a training ended, in MLflow's words."""
EXPERIMENT = "textrnn"
MOST_PARAMETERS = 100
"""Of one request."""
LONGEST_VALUE = 500
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # only the server that the user names gets something
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # training does not wait minutes for a server
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
"""Variables of the environment, if the user has not set them."""


class Tracker:
    """A tracker that tracks nothing: the value `none` of `training.tracker`."""

    def __init__(self, config: TaskConfig, run: Path) -> None:
        """Prepare; nothing is sent yet."""
        self.config = config
        self.run = run

    @staticmethod
    def check() -> None:
        """Require the packages of the tracker.

        Raises:
            UserError: one is not installed.
        """

    def begin(self, history: Sequence[Mapping[str, Any]]) -> str:
        """Begin, or continue after an interruption, and return a message, or "".

        Args:
            history: lines of metrics.jsonl so far.
        """
        return ""

    def add(self, record: Mapping[str, Any]) -> str:
        """Take a line of metrics.jsonl, and return a message about a failure, or ""."""
        return ""

    def end(self, how: str) -> None:
        """End: `FINISHED`, `KILLED` (it can be resumed) or `FAILED`."""


class Mlflow(Tracker):
    """Runs of MLflow at `MLFLOW_TRACKING_URI`, by default the file `mlflow.db` of the working directory.

    The experiment is `MLFLOW_EXPERIMENT_NAME`, by default `textrnn`. A failure ends the tracking, not the
    training.
    """

    FILE = "mlflow.json"
    """File of the run directory with the id of the run of MLflow."""

    def __init__(self, config: TaskConfig, run: Path) -> None:
        """Prepare; nothing is sent yet."""
        super().__init__(config, run)
        self._client: Any = None
        self._id = ""
        self._failed = False

    @staticmethod
    def check() -> None:
        """Require MLflow."""
        with extra("mlflow", "training.tracker = 'mlflow'"):
            if not find_spec("mlflow"):
                raise ModuleNotFoundError("No module named 'mlflow'", name="mlflow")

    def begin(self, history: Sequence[Mapping[str, Any]]) -> str:
        """Begin a run of MLflow, or continue the one of this run directory, with what it lacks."""

        def begin() -> str:
            for name, value in SETTINGS.items():
                os.environ.setdefault(name, value)
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient()
            before = self._continued()
            self._id = before.info.run_id if before else self._created()
            self._log_parameters(before.data.params if before else {})
            sent = self._client.get_metric_history(self._id, "loss") if before else []
            last = max((metric.step for metric in sent), default=0)
            self._log([record for record in history if record["step"] > last])
            where = self._client.tracking_uri
            return f"{self.run}: {'continues' if before else 'is'} run {self._id} of MLflow at {where}"

        return self._try(begin)

    def add(self, record: Mapping[str, Any]) -> str:
        """Send the numbers of a line."""
        return self._try(lambda: self._log([record]))

    def end(self, how: str) -> None:
        """Send configuration and metrics as files, and how the training ended."""

        def end() -> str:
            for name in (CONFIG, METRICS):
                self._client.log_artifact(self._id, str(self.run / name))
            self._client.set_terminated(self._id, how)
            return ""

        if self._id:
            self._try(end)

    def _try(self, act: Callable[[], str]) -> str:
        """Do something unless the tracking has failed; return its message, or that of its failure."""
        if self._failed:
            return ""
        try:
            return act()
        except Exception as error:  # a server may fail in any way
            self._failed = True
            reason = " ".join(str(error).split()) or type(error).__name__
            return f"{self.run}: MLflow fails, and gets nothing more of this training: {reason}"

    def _continued(self) -> Any:
        """Return the run of MLflow that this run directory had before; None: there is none, or it is lost."""
        from mlflow.exceptions import MlflowException

        path = self.run / self.FILE
        if not path.exists():
            return None
        found = json.loads(path.read_text(encoding="utf-8"))["run_id"]
        try:
            self._client.update_run(found, status="RUNNING")
            return self._client.get_run(found)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _created(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        manifest = read_run_manifest(self.run)
        tags = {
            "task": manifest.task,
            "dataset": manifest.dataset,
            "dataset_hash": manifest.dataset_hash,
            "data": manifest.data or "",
            "run": str(self.run.absolute()),
            "kernels": manifest.kernels,
            "parameters": str(manifest.parameters),
            **{f"version.{name}": version for name, version in manifest.versions.items()},
        }
        created = self._client.create_run(number, run_name=self.run.name, tags=tags)
        write_text(self.run / self.FILE, dumps({"run_id": created.info.run_id}))
        run_id: str = created.info.run_id
        return run_id

    def _log_parameters(self, known: Mapping[str, str]) -> None:
        """Send the configuration; MLflow refuses other values of those that it has."""
        from mlflow.entities import Param

        keys = [key for key in keys_of(type(self.config)) if key not in known]
        values = [Param(key, str(value_of(self.config, key))[:LONGEST_VALUE]) for key in keys]
        for i in range(0, len(values), MOST_PARAMETERS):
            self._client.log_batch(self._id, params=values[i : i + MOST_PARAMETERS])

    def _log(self, records: Sequence[Mapping[str, Any]]) -> str:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for record in records:
            numbers = [Metric(name, value, now, record["step"]) for name, value in _numbers(record)]
            self._client.log_batch(self._id, metrics=numbers)
        return ""


def _numbers(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the metrics of a line; MLflow cannot have both `gradient_norm` and `gradient_norm/…`."""
    for name, value in record.items():
        if name != "step" and isinstance(value, int | float):
            yield name.replace("/", "."), float(value)


TRACKERS: Mapping[str, type[Tracker]] = {"none": Tracker, "mlflow": Mlflow}
"""By the value of `training.tracker`."""
