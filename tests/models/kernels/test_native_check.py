"""The kernels' own test program, under the sanitizers of the compiler."""

import pytest
import sanitize

from models.kernels.native.build import BuildError, find_compiler


def test_the_kernels_read_and_write_nothing_out_of_bounds() -> None:
    try:
        find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    found = sanitize.run()
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.endswith("0 wrong\n")
    assert "baseline: " in found.stdout
