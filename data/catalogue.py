"""Datasets of the TensorFlow Datasets catalogue: lookup, download, and the columns of their features."""

from __future__ import annotations

import re
import socket
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from data.errors import UserError, did_you_mean
from data.formats import Field, FieldKind

_SETS = ", and if it has several labels for each example, give --set data.labels=several"


def _is(feature: Any, kind: FieldKind) -> bool:
    """Return whether a feature holds values of a kind."""
    import tensorflow_datasets as tfds

    text, label = tfds.features.Text, tfds.features.ClassLabel
    if kind in ("tokens", "tags", "labels"):
        inner = getattr(feature, "feature", None) if isinstance(feature, tfds.features.Sequence) else None
        return isinstance(inner, text if kind == "tokens" else label)
    return isinstance(feature, {"text": text, "label": label}.get(kind, ()))


def _describe(features: Any) -> str:
    def kind(feature: Any) -> str:
        inner = getattr(feature, "feature", None)
        return type(feature).__name__ + (f" of {type(inner).__name__}" if inner is not None else "")

    return ", ".join(f"{name} ({kind(feature)})" for name, feature in features.items())


def map_columns(
    name: str, features: Any, fields: Sequence[Field], supervised: Sequence[str] = ()
) -> dict[str, str]:
    """Return the feature of each field: the one that the user named, or the only one of its kind.

    Args:
        name: of the dataset, for messages.
        features: name to feature.
        fields: what the task needs.
        supervised: the features that the catalogue itself calls input and target, in this order.

    Raises:
        UserError: a field's feature does not exist or is ambiguous; lists the features and the option.
    """
    columns = {}
    for field in fields:
        right = [key for key, feature in features.items() if _is(feature, field.kind)]
        column = field.find(right)
        unnamed = field.column in (field.name, *field.other_columns) or field.other_columns
        alike = [other.name for other in fields if other.kind == field.kind and not other.optional]
        if column is not None:
            columns[field.name] = column
        elif field.optional:
            continue
        elif unnamed and len(right) == 1 and len(alike) == 1:
            columns[field.name] = right[0]
        elif field.column == field.name and len(alike) == len(supervised) and set(supervised) <= set(right):
            columns[field.name] = supervised[alike.index(field.name)]
        else:
            sets = field.kind == "label" and any(_is(feature, "labels") for feature in features.values())
            raise UserError(
                f"tfds:{name}: no {field.kind} feature {field.column!r}; it has {_describe(features)}; "
                f"name one with {field.option}{_SETS if sets else ''}"
            )
    return columns


def _supervised(builder: Any) -> tuple[str, ...]:
    keys = builder.info.supervised_keys
    return tuple(keys) if keys and all(isinstance(key, str) for key in keys) else ()


ATTEMPTS = 3
CONNECTION_SECONDS = 5.0
"""How long the first connection may take."""


def _reachable(urls: Sequence[str]) -> bool:
    """Return whether a server accepts connections, or whether a proxy is set."""
    if not urls or urllib.request.getproxies():
        return True
    for url in list({(u.scheme, u.hostname, u.port): u for u in map(urlsplit, urls)}.values())[:2]:
        port = url.port or {"https": 443, "ftp": 21}.get(url.scheme, 80)
        try:
            with socket.create_connection((url.hostname or "", port), timeout=CONNECTION_SECONDS):
                return True
        except OSError:
            continue
    return False


def _download(builder: Any, config: Any) -> None:
    """Download and prepare a dataset.

    With a network, a failed connection is tried again: complete files are not downloaded twice.
    Without one it fails at once: the retries of TensorFlow Datasets would take minutes.
    """
    import requests
    from tensorflow_datasets.core.download import downloader

    broken = requests.exceptions.ChunkedEncodingError
    transient = (requests.ConnectionError, requests.Timeout, ConnectionError, broken)
    retries = downloader.MAX_RETRIES
    attempts = ATTEMPTS if _reachable(list(builder.url_infos or ())) else 1
    # Pauses of 0.4 s and 0.8 s, see `urllib3.util.Retry`.
    downloader.MAX_RETRIES = min(retries, attempts - 1)
    try:
        for attempt in range(1, attempts + 1):
            try:
                builder.download_and_prepare(download_config=config)
                return
            except transient:
                if attempt == attempts:
                    raise
    finally:
        downloader.MAX_RETRIES = retries


def _builder(name: str, directory: Path) -> Any:
    import tensorflow_datasets as tfds

    plain = name.split(":")[0].split("/")[0]
    if not plain:
        raise UserError(f"tfds:{name} names no dataset; see 'textrnn datasets list'")
    try:
        return tfds.builder(name, data_dir=directory)
    except tfds.core.registered.DatasetNotFoundError:
        hint = did_you_mean(plain, tfds.list_builders(with_community_datasets=False))
        raise UserError(f"unknown dataset {plain!r} in the catalogue{hint}") from None
    except (ValueError, AssertionError, RuntimeError, ImportError) as error:
        config = name.split(":")[0].partition("/")[2]
        configs = list(tfds.builder_cls(plain).builder_configs) if config else []
        if config and config not in configs:
            has = f"there is {', '.join(configs[:10]) or 'none'}{did_you_mean(config, configs)}"
            raise UserError(f"tfds:{plain} has no configuration {config!r}; {has}") from None
        raise UserError(f"tfds:{name}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Return the message of TensorFlow Datasets on one line, without the arguments of the call."""
    text = re.sub(
        r'^Failed to construct dataset .*?, builder_kwargs "\{.*?\}": ', "", str(error), flags=re.DOTALL
    )
    return " ".join(text.split()) or type(error).__name__


def _raw_files(builder: Any) -> str:
    """Return name, URL and checksum of the first three files that would be downloaded."""
    files = [
        f"{info.filename or url.rsplit('/', 1)[-1]} from {url} (sha256 {info.checksum})"
        for url, info in builder.url_infos.items()
    ]
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return ("; ".join(files[:3]) + more) or "its files"


def prepare_catalogue(
    name: str, fields: Sequence[Field], directory: Path, manual_directory: Path | None
) -> tuple[Any, dict[str, str]]:
    """Return the prepared builder of a catalogue dataset, and its columns.

    Args:
        name: `NAME[/CONFIG][:VERSION]`.
        fields: what the task needs of a row.
        directory: holds prepared datasets.
        manual_directory: raw files that need not be downloaded, under the names of their downloads.

    Raises:
        UserError: the dataset is unknown, cannot be downloaded, or has no features of the right kinds.
    """
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    builder = _builder(name, directory)
    columns = map_columns(name, builder.info.features, fields, _supervised(builder))
    if manual_directory is not None and not manual_directory.is_dir():
        raise UserError(f"--manual-dir {manual_directory}: no such folder")
    config = tfds.download.DownloadConfig(
        manual_dir=manual_directory and str(manual_directory.resolve()), try_download_gcs=False
    )
    try:
        _download(builder, config)
    except (requests.RequestException, ConnectionError, tfds.download.DownloadError) as error:
        raise UserError(
            f"tfds:{name}: cannot be downloaded ({type(error).__name__}); download "
            f"{_raw_files(builder)} yourself and pass their folder with --manual-dir"
        ) from None
    except (NonMatchingChecksumError, AssertionError, ImportError) as error:
        raise UserError(f"tfds:{name}: {_reason(error)}") from None
    return builder, columns
