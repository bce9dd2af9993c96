"""Datasets of the TensorFlow Datasets catalogue: found, downloaded or read from raw files, and mapped."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data.errors import UserError, did_you_mean
from data.formats import Field, FieldKind


def _is(feature: Any, kind: FieldKind) -> bool:
    """Whether a feature holds values of a kind."""
    import tensorflow_datasets as tfds

    text, label = tfds.features.Text, tfds.features.ClassLabel
    if kind in ("tokens", "tags"):
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
    """Which feature gives each field: the one the user named, or the only one of its kind.

    Args:
        name: of the dataset, for messages.
        features: name to feature.
        fields: what the task needs.
        supervised: the features that the catalogue itself calls input and target, in this order.

    Raises:
        UserError: a field's feature is not there or not clear; lists the features and the option.
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
            raise UserError(
                f"tfds:{name}: no {field.kind} feature {field.column!r}; it has {_describe(features)}; "
                f"name one with {field.option}"
            )
    return columns


def _supervised(builder: Any) -> tuple[str, ...]:
    keys = builder.info.supervised_keys
    return tuple(keys) if keys and all(isinstance(key, str) for key in keys) else ()


@contextlib.contextmanager
def _no_waiting_for_a_network() -> Iterator[None]:
    """Without a network TensorFlow Datasets retries for minutes; a person wants to know at once."""
    from tensorflow_datasets.core.download import downloader

    retries, downloader.MAX_RETRIES = downloader.MAX_RETRIES, 0
    try:
        yield
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
    """What TensorFlow Datasets says, on one line, without the arguments that it was called with."""
    text = re.sub(
        r'^Failed to construct dataset .*?, builder_kwargs "\{.*?\}": ', "", str(error), flags=re.DOTALL
    )
    return " ".join(text.split()) or type(error).__name__


def _raw_files(builder: Any) -> str:
    """What would be downloaded: file, URL and checksum of each, the first three."""
    files = [
        f"{info.filename or url.rsplit('/', 1)[-1]} from {url} (sha256 {info.checksum})"
        for url, info in builder.url_infos.items()
    ]
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return ("; ".join(files[:3]) + more) or "its files"


def prepare_catalogue(
    name: str, fields: Sequence[Field], directory: Path, manual_directory: Path | None
) -> tuple[Any, dict[str, str]]:
    """The builder of a catalogue dataset, prepared, and its columns.

    Args:
        name: `NAME[/CONFIG][:VERSION]`.
        fields: what the task needs of a row.
        directory: holds prepared datasets.
        manual_directory: raw files that need not be downloaded, under the names of their downloads.

    Raises:
        UserError: unknown, not to be had, or without features of the right kinds.
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
        with _no_waiting_for_a_network():
            builder.download_and_prepare(download_config=config)
    except (requests.RequestException, ConnectionError, tfds.download.DownloadError) as error:
        raise UserError(
            f"tfds:{name}: cannot be downloaded ({type(error).__name__}); get {_raw_files(builder)} "
            "and give their folder with --manual-dir"
        ) from None
    except (NonMatchingChecksumError, AssertionError, ImportError) as error:
        raise UserError(f"tfds:{name}: {_reason(error)}") from None
    return builder, columns
