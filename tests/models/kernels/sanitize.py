"""Run the kernels' own test program under AddressSanitizer and UndefinedBehaviorSanitizer.

`python tests/models/kernels/sanitize.py` prints what the program prints; any finding makes it fail.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from models.kernels.native.build import compile_check, find_compiler

FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g1", "-O1")


def run() -> subprocess.CompletedProcess[str]:
    """Compile and run the program.

    Raises:
        BuildError: there is no compiler, or it does not compile.
    """
    compiler = find_compiler()
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "check")
        compile_check(compiler, program, FLAGS)
        return subprocess.run([program], capture_output=True, text=True, check=False, timeout=600)


if __name__ == "__main__":
    found = run()
    print(found.stdout + found.stderr, end="")
    sys.exit(found.returncode)
