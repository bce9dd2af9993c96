"""The export as a model of Beam's `RunInference`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler

from app.beam.failures import NAMESPACE
from app.beam.places import local_folder
from app.beam.rows import Example
from data.errors import UserError
from data.formats import Row

if TYPE_CHECKING:
    from app.prediction.predictor import Predictor

BATCH_COST = 2**18
"""Cost of the examples of a batch, see `data.batching.row_costs`. The predictor sorts them by length, and
computes 64 at a time: the more there are, the less padding."""

Predicted = tuple[str, int, dict[str, Any]]
"""File and line of an example, and its prediction; or `error` in place of that."""


class ExportHandler(ModelHandler[Example, Predicted, Any]):
    """Loads an export once in each process of a worker, and predicts batches of similar cost."""

    def __init__(self, model: str, *, kernels: str, width: int | None, reject_below: float) -> None:
        """Initialize.

        Args:
            model: the export, in a filesystem that the workers can read.
            kernels: as of `load_predictor`.
            width: beam width; None: the configured one.
            reject_below: as of `predictions`.
        """
        super().__init__(min_batch_size=BATCH_COST, max_batch_size=BATCH_COST, element_size_fn=batch_share)
        self._model = model
        self._kernels = kernels
        self._width = width
        self._reject_below = reject_below
        self._batches = Metrics.counter(NAMESPACE, "batches")
        self._bytes = Metrics.counter(NAMESPACE, "bytes")
        self._batch_rows = Metrics.distribution(NAMESPACE, "batch_rows")

    def load_model(self) -> Predictor:
        """Check and load the export.

        Raises:
            UserError: as of `load_checked`.
        """
        return load_checked(self._model, self._kernels, self._width)

    def run_inference(
        self, batch: Sequence[Example], model: Predictor, inference_args: dict[str, Any] | None = None
    ) -> list[Predicted]:
        """Return the prediction of each example; if the whole batch fails, those of its parts."""
        self._batches.inc()
        self._batch_rows.update(len(batch))
        self._bytes.inc(self.get_num_bytes(batch))
        return self._predict(batch, model)

    def _predict(self, batch: Sequence[Example], model: Predictor) -> list[Predicted]:
        from app.predict import predictions

        rows = [Row(line, values) for _, line, values in batch]
        try:
            found = list(predictions(model, rows, self._reject_below))
        except UserError:  # of the model, not of an example
            raise
        except Exception as error:
            if len(batch) > 1:
                half = len(batch) // 2
                return self._predict(batch[:half], model) + self._predict(batch[half:], model)
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            found = [{"error": reason}]
        return [(file, line, own) for (file, line, _), own in zip(batch, found, strict=True)]

    def get_num_bytes(self, batch: Sequence[Example]) -> int:
        """Return the cost of a batch: the bytes of its texts, and one for each string."""
        return sum(map(_cost, batch))

    def get_metrics_namespace(self) -> str:
        """Return the namespace of the metrics of `RunInference`, which are others than those of a job."""
        return "RunInference"


def load_checked(model: str, kernels: str, width: int | None) -> Predictor:
    """Load an export after its checksums and its operations are checked.

    Args:
        model: the export or the parent directory of its versions, in any of Beam's filesystems.
        kernels: as of `load_predictor`.
        width: beam width; None: the configured one.

    Raises:
        UserError: as of `load_predictor`, or it is no export.
    """
    from app.terminal.quiet import quiet

    quiet()  # a worker has imported nothing yet
    from app.prediction.loading import find_export, load_predictor, with_beam

    path = local_folder(model)
    if find_export(path) is None:
        raise UserError(
            f"--model {model} is not an export: it has no saved_model.pb. Pass a directory created by "
            "'textrnn export'."
        )
    return with_beam(load_predictor(path, kernels), width)


def batch_share(example: Example) -> int:
    """Return what an example adds to a batch; one that costs more than a batch is a batch of its own."""
    return min(_cost(example), BATCH_COST)


def _cost(example: Example) -> int:
    from app.predict import cost

    return cost(Row(example[1], example[2]))
