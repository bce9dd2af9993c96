"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

# The same examples in every run, so that a failure is the fault of a change. Another profile looks for new
# ones: `pytest --hypothesis-profile=search`. There is no deadline, because a machine that others use too is
# slow for a moment now and then.
hypothesis.settings.register_profile("any machine", deadline=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep prepared datasets away from the user's cache, in this process and in those it starts.

    The processes of pytest-xdist share the native kernels, which one of them compiles.
    """
    cache, base = tmp_path_factory.mktemp("cache"), tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kernels"
    shared.mkdir(mode=0o700, exist_ok=True)
    (cache / "textrnn").mkdir()
    (cache / "textrnn" / "kernels").symlink_to(shared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        from models.kernels.native.library import PACKAGED, library

        # So that no command of a test is the first to compile them, which it would say.
        found = library().path
        assert found in (None, PACKAGED) or found.is_relative_to(cache), "loaded before the first test"
        yield


@pytest.fixture(scope="session")
def native_kernels(own_cache: None) -> None:
    """Skip where the native kernels cannot run: Keras's layers run then."""
    from models.kernels.choice import choose

    found = choose("auto")
    if found.kernels != "native":
        pytest.skip(found.reason)
