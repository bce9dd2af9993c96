"""Check with deptry that setup.cfg declares what the packages import, and nothing else."""

from __future__ import annotations

import configparser
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Declared and not imported, each for the reason in setup.cfg.
NOT_IMPORTED = (
    "importlib-resources",
    "protobuf",
    "httptools",
    "sqlalchemy",
    "alembic",
)


def main() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = config["options.extras_require"]
    product = [config["options"]["install_requires"], *(extras[name] for name in extras if name != "dev")]
    with tempfile.TemporaryDirectory() as folder:
        declared = Path(folder, "requirements.txt")
        declared.write_text("\n".join(product), encoding="utf-8")
        command = [sys.executable, "-m", "deptry", ".", "--requirements-files", str(declared)]
        command += ["--extend-exclude", "tests|benchmarks|build|demo"]
        command += ["--known-first-party", "app,data,models,textrnn"]
        command += ["--package-module-name-map", "tensorflow-serving-api=tensorflow_serving,protobuf=google"]
        command += ["--per-rule-ignores", f"DEP002={'|'.join(NOT_IMPORTED)}"]
        sys.exit(subprocess.run(command, cwd=ROOT, check=False).returncode)


main()
