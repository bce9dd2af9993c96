"""Check a wheel: it has every file of the packages, and works when installed into an empty environment.

The environment is a new one with its own site-packages, in a temporary folder. pip installs the wheel there;
its dependencies are those of the environment that runs this program, which are the locked ones. The commands
run in another folder, so that nothing of the checkout can be imported.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

from models.kernels.native.build import BuildError, find_compiler

ROOT = Path(__file__).parent.parent
PACKAGES = ("app", "data", "models", "textrnn-stubs")
MODULES = ("textrnn.py",)
PATTERNS = (
    "*.py",
    "*.pyi",
    "py.typed",
    "*.toml",
    "*.html",
    "*.css",
    "*.js",
    "*.svg",
    "*.jinja",
    "*.cpp",
    "*.h",
)
NATIVE = {f"models/kernels/native/kernels.{suffix}" for suffix in ("so", "json")}
"""What a wheel for one platform has besides: the compiled kernels, and what they were made of."""
TABLE = "text,label\n" + "".join(
    f"{opening} {noun} is {adjective}.,{label}\n"
    for opening in ("The", "This", "Our", "Their")
    for noun in ("soup", "film", "bread", "song", "hotel")
    for adjective, label in (("charming", "positive"), ("dull", "negative"))
)
TINY = {
    "training.epochs": 1,
    "training.batch_size": 8,
    "model.units": 4,
    "model.embedding_size": 4,
    "model.layers": 0,
}
TYPED = """\
import textrnn
reveal_type(textrnn.load("x").predict(["a"]))
textrnn.load(1)
"""
REVEALED = ('Revealed type is "list[dict[str, Any]]"', 'Argument 1 to "load" has incompatible type "int"')


def check_files(wheel: Path) -> bool:
    """Exit if a file of the packages is missing in the wheel, or if it holds anything else.

    Returns:
        whether it has compiled kernels, as it must where there is a compiler.
    """
    is_native = _has_compiler()
    if is_native == wheel.name.endswith("-any.whl"):
        sys.exit(f"{wheel}: the tag does not fit: {'a' if is_native else 'no'} compiler is here")
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for pattern in PATTERNS
        for path in (ROOT / package).rglob(pattern)
    } | {*MODULES, *(NATIVE if is_native else ())}
    with zipfile.ZipFile(wheel) as archive:
        present = {name for name in archive.namelist() if ".dist-info/" not in name}
    if present != expected:
        sys.exit(f"missing: {sorted(expected - present)}; unexpected: {sorted(present - expected)}")
    print(f"{wheel}: {len(present)} files", flush=True)
    return is_native


def _has_compiler() -> bool:
    try:
        find_compiler()
    except BuildError:
        return False
    return True


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
    shared = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "dependencies.pth").write_text("\n".join(shared) + "\n")
    return programs


def check_imports(programs: Path, folder: Path) -> None:
    """Exit if a module is imported from elsewhere, or lacks its types."""
    modules = ("app", "data", "models", "textrnn")
    where = f"import {', '.join(modules)}; print({', '.join(f'{name}.__file__' for name in modules)})"
    for path in subprocess.check_output([programs / "python", "-c", where], cwd=folder, text=True).split():
        if not path.startswith(str(programs.parent)):
            sys.exit(f"{path}: not the installed package")
    (folder / "typed.py").write_text(TYPED)
    print("mypy typed.py", flush=True)
    # mypy follows the types of the wheel, and not those of its dependencies.
    options = ["--no-incremental", "--follow-imports=silent", "--config-file=", "--ignore-missing-imports"]
    said = subprocess.run(
        [programs / "python", "-m", "mypy", *options, "typed.py"],
        cwd=folder,
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    if not all(part in said for part in REVEALED):
        sys.exit(f"mypy does not see the types of the wheel:\n{said}")


def check_commands(programs: Path, folder: Path, is_native: bool) -> None:
    """Train, evaluate, export and predict with the installed program; exit if a command fails.

    No compiler is found then: the kernels of the wheel run, if it has some.
    """
    (folder / "reviews.csv").write_text(TABLE)
    (folder / "texts.txt").write_text("The soup is dull.\n")
    version = importlib.metadata.version("textrnn")

    def run(*arguments: str) -> str:
        print("textrnn", *arguments, flush=True)
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        clean |= {"XDG_CACHE_HOME": str(folder / "cache"), "CXX": "/bin/false"}
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

    if version not in run("--version"):
        sys.exit("textrnn --version: not the version of the wheel")
    kernels = json.loads(run("info", "--json"))["kernels"]
    if is_native != str(kernels["library"]).startswith(str(programs.parent)):
        sys.exit(f"textrnn info: {kernels}")
    settings = [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]
    run("train", "classification", "reviews.csv", "--run", "run", "--preset", "fast", *settings)
    run("evaluate", "run", "--split", "all")
    run("export", "run", "--output", "export")
    if '"label"' not in run("predict", "export/1", "texts.txt"):
        sys.exit("textrnn predict: no label")


def main(wheel: Path) -> None:
    """Check the files, then install the wheel and use it."""
    is_native = check_files(wheel)
    with tempfile.TemporaryDirectory() as folder:
        programs = environment(Path(folder, "environment"), wheel)
        work = Path(folder, "work")
        work.mkdir()
        check_imports(programs, work)
        check_commands(programs, work, is_native)


main(Path(sys.argv[1]).resolve())
