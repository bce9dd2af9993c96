"""Imports of TensorFlow and Keras without the packages that they import for what this program never uses.

Both import some packages where they are installed, and do without them where they are not. With these
packages, `import tensorflow` takes twice as long: it imports Keras to register optimizers, and Keras imports
scikit-learn and Matplotlib.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import ModuleType

from app.collection import no_collection

UNUSED = {
    # optimizers of Keras; its own old copy of Keras reads HDF5 files and sparse matrices
    "tensorflow": ("keras", "h5py", "scipy"),
    # wrappers for scikit-learn, plots, data frames, notebooks, images
    "keras": ("sklearn", "matplotlib", "pandas", "IPython", "PIL"),
}
"""Packages that count as not installed while a package is imported. They can be imported after that."""


class _NotInstalled(importlib.abc.Loader):
    def exec_module(self, module: ModuleType) -> None:
        raise ImportError(f"{module.__name__} is not used", name=module.__name__)


class _Hidden(threading.local):
    """Packages that count as not installed in a thread."""

    names: tuple[str, ...] = ()


class _LeanFinder(importlib.abc.MetaPathFinder):
    """Imports the packages of `UNUSED` without those that they name."""

    def __init__(self, around: Callable[[], AbstractContextManager[None]]) -> None:
        self._around = around
        self._hidden = _Hidden()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in UNUSED and name not in self._hidden.names:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        if name in self._hidden.names:
            spec.loader = _NotInstalled()
            return spec
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            before = self._hidden.names
            self._hidden.names = UNUSED[name]
            try:
                with no_collection(), self._around():
                    load(module)
                gc.freeze()  # modules stay: no later search looks at them, nor the one at exit
            finally:
                self._hidden.names = before

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def lean_imports(around: Callable[[], AbstractContextManager[None]]) -> None:
    """Import TensorFlow and Keras, whenever that happens, without the packages of `UNUSED`.

    Args:
        around: returns the context of such an import.
    """
    if not any(isinstance(finder, _LeanFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _LeanFinder(around))
