"""The build: what setup.cfg says, and the native kernels compiled for the platform that builds a wheel.

Without a C++ compiler the wheel is one for every platform, and the kernels are compiled where it is used. An
editable installation compiles them there too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).parent))

from models.kernels.native.build import LIBRARY, BuildError, compile_library, describe, find_compiler

COMPILED = Path("models", "kernels", "native", LIBRARY)


class BuildPy(build_py):
    """Copies the packages, and adds the compiled kernels if there is a compiler."""

    def run(self) -> None:
        """Build; a failed compilation is no failure of the build."""
        super().run()
        if self.editable_mode:
            return
        library = Path(self.build_lib, COMPILED)
        library.unlink(missing_ok=True)
        try:
            compile_library(find_compiler(), library)
        except BuildError as error:
            self.warn(f"a wheel without native kernels: {error}")
            return
        describe(library)


class BdistWheel(bdist_wheel):
    """Tags a wheel that has compiled kernels with the platform; it serves every version of Python there."""

    def run(self) -> None:
        """Build, and see whether there are compiled kernels."""
        self.run_command("build")
        self.skip_build = True
        has_machine_code = Path(self.get_finalized_command("build").build_lib, COMPILED).exists()
        self.root_is_pure = not has_machine_code
        self.distribution.has_ext_modules = lambda: has_machine_code
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tag: any Python 3, and the platform if there is machine code."""
        python, abi, platform = super().get_tag()
        return (python, abi, platform) if self.root_is_pure else ("py3", "none", platform)


COMMANDS: dict[str, Any] = {"build_py": BuildPy, "bdist_wheel": BdistWheel}

setup(cmdclass=COMMANDS)
