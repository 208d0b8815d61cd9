"""Try one installed distribution in an environment that holds nothing but it and its dependencies.

Started by the nox session `alone` with the interpreter of that environment; uses the standard library only.
Prints every problem and exits with 1 when there is one.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import lazy_imports

__all__ = ["main"]

# A first use of the package, so that "it imports" is not all that is known.
FIRST_USE = {
    "ptycho_config": (
        "import ptycho_config as p; assert p.ModelConfig() == p.ModelConfig(); assert p.TrainingConfig()"
    ),
    "ptycho_torch": (
        "import torch, ptycho_torch.physics as p; assert p.__all__ and all(hasattr(p, n) for n in p.__all__)"
    ),
    "ptycho_torch_cli": "import ptycho_torch_cli.__main__ as m; assert callable(m.main)",
}


# Import name to the distribution that an extra installs; a module that needs one is loaded where it is used.
OF_EXTRAS = {"zmq": "pyzmq", "cbor2": "cbor2", "dectris": "dectris-compression", "p4p": "p4p"}


def _is_of_an_extra(missing: str, dist: importlib.metadata.Distribution) -> bool:
    """Whether what could not be imported is declared as an extra, and as nothing more."""
    wanted = OF_EXTRAS.get(missing.partition(".")[0])
    stated = [line for line in dist.requires or [] if wanted and re.match(rf"{wanted}(?![\w-])", line)]
    return bool(stated) and all("extra ==" in line for line in stated)


def check_files(dist: importlib.metadata.Distribution, import_name: str) -> list[str]:
    """Compare what the wheel brought with what it should bring."""
    files = [path.as_posix() for path in dist.files or []]
    found = []
    if f"{import_name}/py.typed" not in files:
        found.append(f"the wheel lacks {import_name}/py.typed: type checkers will ignore its annotations")
    if not any(".dist-info/" in name and name.endswith("LICENSE") for name in files):
        found.append("the wheel lacks its LICENSE")
    tops = {name.split("/")[0] for name in files if not name.startswith("..")}
    strangers = sorted(top for top in tops if top != import_name and not top.endswith(".dist-info"))
    if strangers:
        found.append(f"the wheel installs more than {import_name}: {', '.join(strangers)}")
    return found


def check_import(dist: importlib.metadata.Distribution, import_name: str) -> list[str]:
    """Import the package and every module in it, from the environment and not from the sources."""
    found = []
    package = importlib.import_module(import_name)
    if not Path(package.__file__ or "").resolve().is_relative_to(Path(sys.prefix).resolve()):
        found.append(f"{import_name} was imported from {package.__file__}, not from the environment")
    version = getattr(package, "__version__", None)
    if version != dist.version:
        found.append(f"{import_name}.__version__ is {version!r}, the wheel says {dist.version!r}")
    for module in pkgutil.walk_packages(package.__path__, f"{import_name}."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            if _is_of_an_extra(error.name or "", dist):
                continue
            found.append(f"import {module.name}: {error}; is the dependency declared?")
    return found


def check_commands(dist: importlib.metadata.Distribution) -> list[str]:
    """Call every installed command for help and for its version."""
    found = []
    for entry in dist.entry_points:
        if entry.group != "console_scripts":
            continue
        script = Path(sys.executable).with_name(entry.name)
        for flag in ("--help", "--version"):
            run = subprocess.run([script, flag], capture_output=True, text=True, check=False)
            if run.returncode != 0 or not run.stdout.strip():
                found.append(
                    f"`{entry.name} {flag}`: expected exit code 0 and text on standard output, "
                    f"got exit code {run.returncode}: {run.stderr.strip()}"
                )
    return found


def check_first_use(import_name: str) -> list[str]:
    """Use the package once in a fresh interpreter."""
    try:
        lazy_imports.loaded_modules(FIRST_USE[import_name])
    except RuntimeError as error:
        return [f"first use of {import_name}: {error}"]
    return []


def main(argv: list[str] | None = None) -> int:
    """Run all checks of one distribution and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dist", help="name of the distribution")
    parser.add_argument("import_name", help="name of its import package")
    parser.add_argument("--absent", nargs="*", default=[], metavar="MODULE", help="must be missing here")
    args = parser.parse_args(argv)

    dist = importlib.metadata.distribution(args.dist)
    found = [
        f"{name} is installed: something declares a dependency on it"
        for name in args.absent
        if importlib.util.find_spec(name) is not None
    ]
    found += check_files(dist, args.import_name)
    found += check_first_use(args.import_name)
    for case in lazy_imports.CASES:
        if importlib.util.find_spec(_first_word(case.package)) is not None:
            found += lazy_imports.problems(case)
    found += check_import(dist, args.import_name)
    found += check_commands(dist)
    for problem in found:
        print(f"{args.dist}: {problem}")
    if not found:
        print(f"{args.dist} {dist.version}: installs and works alone")
    return 1 if found else 0


def _first_word(dist: str) -> str:
    return {"ptycho-torch-core": "ptycho_torch"}.get(dist, dist.replace("-", "_"))


if __name__ == "__main__":
    sys.exit(main())
