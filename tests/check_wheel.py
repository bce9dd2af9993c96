"""Check a wheel: it has every file of the packages, and works when installed into an empty environment.

The environment is a new one with its own site-packages, in a temporary folder. pip installs the wheel there;
its dependencies are those of the environment that runs this program, which are the locked ones. The commands
run in another folder, so that nothing of the checkout can be imported.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("app", "data", "models", "textrnn-stubs")
MODULES = ("textrnn.py",)
PATTERNS = ("*.py", "*.pyi", "py.typed", "*.toml", "*.html", "*.css", "*.js", "*.svg")


def check_files(wheel: Path) -> None:
    """Exit if a file of the packages is missing in the wheel, or if it holds anything else."""
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for pattern in PATTERNS
        for path in (ROOT / package).rglob(pattern)
    } | {name for name in MODULES if (ROOT / name).exists()}
    with zipfile.ZipFile(wheel) as archive:
        present = {name for name in archive.namelist() if ".dist-info/" not in name}
    if present != expected:
        sys.exit(f"missing: {sorted(expected - present)}; unexpected: {sorted(present - expected)}")
    print(f"{wheel}: {len(present)} files", flush=True)


def environment(folder: Path, wheel: Path) -> Path:
    """Create an environment that holds the wheel, and return the folder of its programs.

    The site-packages of the running environment follow its own on the path, without the .pth files
    there: the editable installation of the checkout is one of those.
    """
    venv.create(folder)
    programs = folder / "bin"
    site = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    install = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", programs / "python"]
    subprocess.run(
        [*install, "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed", wheel], check=True
    )
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


def check_commands(programs: Path, folder: Path) -> None:
    """Train, evaluate, export and predict with the installed program; exit if a command fails."""
    folder.mkdir()
    (folder / "texts.txt").write_text("The soup is dull.\n")
    version = importlib.metadata.version("textrnn")

    def run(*arguments: str) -> str:
        print("textrnn", *arguments, flush=True)
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        clean["XDG_CACHE_HOME"] = str(folder / "cache")
        result = subprocess.run(
            [programs / "textrnn", *arguments],
            cwd=folder,
            env=clean,
            check=False,
            stdout=subprocess.PIPE,
            text=True,
        )
        if result.returncode:
            sys.exit(f"textrnn {' '.join(arguments)}: exit status {result.returncode}\n{result.stdout}")
        return result.stdout

    where = "import app, data, models; print(app.__file__, data.__file__, models.__file__)"
    for path in subprocess.check_output([programs / "python", "-c", where], cwd=folder, text=True).split():
        if not path.startswith(str(programs.parent)):
            sys.exit(f"{path}: not the installed package")
        if not Path(path).with_name("py.typed").exists():
            sys.exit(f"{path}: the package has no py.typed")
    if version not in run("--version"):
        sys.exit("textrnn --version: not the version of the wheel")
    settings = ("--preset", "fast", "--set", "training.epochs=1")
    run("train", "classification", "sample:reviews", "--run", "run", *settings)
    run("evaluate", "run")
    run("export", "run", "--output", "export")
    if '"label"' not in run("predict", "export/1", "texts.txt"):
        sys.exit("textrnn predict: no label")


def main(wheel: Path) -> None:
    check_files(wheel)
    with tempfile.TemporaryDirectory() as folder:
        programs = environment(Path(folder, "environment"), wheel)
        check_commands(programs, Path(folder, "work"))


main(Path(sys.argv[1]).resolve())
