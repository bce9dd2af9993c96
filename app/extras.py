"""Packages that only one command needs, and the extra that installs each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from data.errors import UserError

PACKAGES = {
    "beam": {"apache_beam"},
    "mlflow": {"mlflow"},
    "plots": {"matplotlib"},
    "serve": {"grpc", "httptools", "prometheus_client", "starlette", "uvicorn", "uvloop"},
    "tune": {"optuna"},
}
"""Import names of the packages of each extra."""


@contextmanager
def extra(name: str, command: str) -> Iterator[None]:
    """Turn the failed import of a package of an extra into one line.

    Args:
        name: the extra, a key of `PACKAGES`.
        command: what needs it.

    Raises:
        UserError: a package of the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in PACKAGES[name]:
            raise
        raise UserError(f"{command} needs {package}; pip install 'textrnn[{name}]'") from None
