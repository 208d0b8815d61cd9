"""Every check and every build of the project, generated from one table of packages.

`nox --list` shows the sessions, `nox` runs the default ones, `nox -s "unit(ptycho-config)"` runs one of them,
and `nox -R -s ...` runs it again in the environment that is already there. Arguments after `--` replace those
that a session gives to its tool: `nox -R -s "unit(ptycho-config)" -- packages/ptycho-config -k precedence`.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_external_run = True

ROOT = Path(__file__).resolve().parent
CONSTRAINTS = ROOT / "constraints.txt"
PTYCHODUS = "1.7.0"
OTHERS = ("cdtools-py==0.3.2", "libertem==0.16.0", "ptylab==0.3.7")
# What sessions with our packages run, and what builds these.
TOOLS = ("pytest-xdist", "mypy", "types-PyYAML", "hatchling", "editables")

# A path that the caller exported would put modules in front of what a session installs.
os.environ.pop("PYTHONPATH", None)
os.environ.update(
    MPLBACKEND="Agg",
    # Tests run in several processes; teams of threads that share their processors slow each other down.
    OMP_NUM_THREADS="1",
    OMP_WAIT_POLICY="PASSIVE",
    # The environments in which packages are built take their versions from the same file.
    PIP_BUILD_CONSTRAINT=str(CONSTRAINTS),
    PIP_DISABLE_PIP_VERSION_CHECK="1",
    # Compiling all of torch costs more time than the tests save by it.
    PIP_NO_COMPILE="1",
)


@dataclass(frozen=True)
class Package:
    """One distribution of this repository.

    Attributes
    ----------
    dist, import_name : str
        Name to install and name to import.
    siblings : tuple of str
        Distributions of this repository that it depends on, directly or through another one.
    absent : tuple of str
        Modules that an environment with nothing but this package must not hold.
    """

    dist: str
    import_name: str
    siblings: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return ROOT / "packages" / self.dist

    @property
    def family(self) -> tuple[Package, ...]:
        """The siblings, then the package itself."""
        return (*(package for package in PACKAGES if package.dist in self.siblings), self)


PACKAGES = (
    Package("ptycho-config", "ptycho_config", absent=("torch", "numpy", "lightning", "ptycho_torch")),
    Package("ptycho-torch-core", "ptycho_torch", siblings=("ptycho-config",), absent=("ptycho_torch_cli",)),
    Package("ptycho-torch-cli", "ptycho_torch_cli", siblings=("ptycho-config", "ptycho-torch-core")),
)
each_package = nox.parametrize("package", [nox.param(package, id=package.dist) for package in PACKAGES])


def install(session: nox.Session, *requirements: str) -> None:
    """Install third-party requirements at the versions of constraints.txt."""
    session.install("-c", str(CONSTRAINTS), *requirements)


def fetch(session: nox.Session) -> Path:
    """Folder with the wheels that sessions with our packages install, fetched by the first of them.

    Most of the time of such an installation goes into the pages of an index, read again for a hundred
    packages.
    """
    folder = ROOT / ".nox" / f"wheels-{session.python or platform.python_version()}"
    sources = (CONSTRAINTS, Path(__file__), *(package.path / "pyproject.toml" for package in PACKAGES))
    wanted, stamp = "\n".join(source.read_text(encoding="utf-8") for source in sources), folder / "wanted.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        done = session.run_install(
            "python", "-m", "pip", "wheel", "--quiet", "-c", str(CONSTRAINTS), "--wheel-dir", str(folder),
            *TOOLS, *(requirement for requirement in tested(PACKAGES) if requirement != "-e"),
        )  # fmt: skip
        if done is not None:
            for stale in folder.glob("ptycho_*.whl"):
                stale.unlink()
            stamp.write_text(wanted, encoding="utf-8")
    return folder


def install_ours(session: nox.Session, *requirements: str) -> None:
    """Install our packages and what they take from the wheels that `fetch` leaves.

    With uv, which unpacks a wheel once and links it into every environment: pip needs a minute for each.
    """
    uv = shutil.which("uv", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if uv is None:
        session.error(
            "uv: expected beside nox, found neither there nor on PATH; pip install -c constraints.txt uv"
        )
    session.run_install(
        uv, "pip", "install", "--quiet", "--python", str(session.virtualenv.location), "-c", str(CONSTRAINTS),
        "--no-index", "--find-links", str(fetch(session)), *requirements,
        env={"UV_CACHE_DIR": str(ROOT / ".nox" / "uv"), "UV_BUILD_CONSTRAINT": str(CONSTRAINTS)},
        external=True,
    )  # fmt: skip


def run_tests(session: nox.Session, *default: str) -> None:
    """Run pytest on several processors; the tests of one file stay together and share what they made."""
    session.run(
        "pytest", "--numprocesses", "auto", "--maxprocesses", "4", "--dist", "loadfile",
        *(session.posargs or default),
    )  # fmt: skip


def editable(packages: tuple[Package, ...], extra: str = "") -> list[str]:
    """Arguments of pip that install packages from this tree, without copying them."""
    return [argument for package in packages for argument in ("-e", f"{package.path}{extra}")]


def tested(packages: tuple[Package, ...]) -> list[str]:
    """Arguments of pip for packages with what their tests take, and what only a C compiler can install."""
    compiled = "dectris," if any(map(shutil.which, ("cc", "gcc", "clang"))) else ""
    return [
        argument
        for package in packages
        for argument in editable(
            (package,), f"[{compiled if package.import_name == 'ptycho_torch' else ''}test]"
        )
    ]


@contextmanager
def outside_the_tree(session: nox.Session) -> Iterator[Path]:
    """Work in an empty directory elsewhere, so that nothing is found only because the sources lie near."""
    with tempfile.TemporaryDirectory(prefix="ptycho-") as folder, session.chdir(folder):
        yield Path(folder)


def build_wheels(session: nox.Session, packages: tuple[Package, ...], folder: Path) -> list[str]:
    """Paths of wheels built from this tree."""
    session.run(
        "python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder),
        *(str(package.path) for package in packages),
    )  # fmt: skip
    return sorted(str(wheel) for wheel in folder.glob("*.whl"))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting of all Python code (arguments replace `check .`)."""
    install(session, "ruff")
    if session.posargs:
        session.run("ruff", *session.posargs)
        return
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the three packages as one program."""
    # With torch and Lightning: without their types, half of core would pass as "anything".
    install_ours(session, "mypy", "types-PyYAML", *editable(PACKAGES))
    session.run("mypy", *session.posargs)


@nox.session
@each_package
def unit(session: nox.Session, package: Package) -> None:
    """Run the tests of one package with its siblings installed from this tree."""
    install_ours(session, "pytest-xdist", *tested(package.family))
    run_tests(session, str(package.path / "tests"))


@nox.session
@each_package
def alone(session: nox.Session, package: Package) -> None:
    """Build wheels, install them in one resolve, and try the package where nothing else is.

    A dependency that is used but not declared, a file that the wheel forgets, and a version range that the
    sibling does not satisfy all fail here and nowhere else.
    """
    check = ROOT / "tests" / "installs" / "check_alone.py"
    with outside_the_tree(session) as folder:
        wheels = build_wheels(session, package.family, folder)
        # With `nox -R` the wheels of the previous run would stay in place.
        session.run("python", "-m", "pip", "uninstall", "-qq", "--yes", *(member.dist for member in PACKAGES))
        install_ours(session, *wheels)
        session.run("python", "-m", "pip", "check")
        session.run("python", str(check), package.dist, package.import_name, "--absent", *package.absent)


@nox.session
def boundaries(session: nox.Session) -> None:
    """Check who may import whom, what stays lazy, and the rules that every file of the tree follows."""
    # Without torch: a stand-in takes its place, which shows an import just as well and installs in no time.
    install(session, "PyYAML", "pytest")
    install(session, "--no-deps", *editable(PACKAGES))
    session.run("pytest", *(session.posargs or [str(ROOT / "tests" / "boundaries")]))


@nox.session
def integration(session: nox.Session) -> None:
    """Run the tests that need several packages at once."""
    install_ours(session, "pytest-xdist", *tested(PACKAGES))
    others = (f"--ignore={ROOT / 'tests' / name}" for name in ("boundaries", "others", "ptychodus"))
    run_tests(session, str(ROOT / "tests"), *others)


def run_under_ptychodus(session: nox.Session, *selection: str) -> None:
    """Install our wheels and ptychodus as it is in the index, and run the tests that drive it."""
    with outside_the_tree(session) as folder:
        wheels = build_wheels(session, PACKAGES, folder)
        session.run("python", "-m", "pip", "uninstall", "-qq", "--yes", *(member.dist for member in PACKAGES))
        # Not session.install: with `nox -R` nothing would take the place of what was uninstalled.
        session.run(
            "python", "-m", "pip", "install", "--quiet", "-c", str(CONSTRAINTS), *wheels,
            f"ptychodus[gui]=={PTYCHODUS}", "pytest", "pytest-asyncio", "pytest-xdist",
        )  # fmt: skip
        session.run("python", "-m", "pip", "check")
        # Its conformance tests are in the source archive only.
        session.run(
            "python", "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "ptychodus",
            "--dest", str(folder), f"ptychodus=={PTYCHODUS}",
        )  # fmt: skip
        shutil.unpack_archive(folder / f"ptychodus-{PTYCHODUS}.tar.gz", folder, filter="data")
        session.env["PTYCHODUS_SOURCE"] = str(folder / f"ptychodus-{PTYCHODUS}")
        with session.chdir(ROOT):
            run_tests(session, str(ROOT / "tests" / "ptychodus"), "-p", "no:asyncio", *selection)


@nox.session
def drop_in(session: nox.Session) -> None:
    """Train and reconstruct once under ptychodus, exchange files with it, and pass its conformance tests."""
    run_under_ptychodus(session, "-m", "not long")


@nox.session(default=False)
def ptychodus(session: nox.Session) -> None:
    """Train and reconstruct every kind of scan and job under ptychodus, and by the buttons of its window."""
    run_under_ptychodus(session)


@nox.session(default=False)
def others(session: nox.Session) -> None:
    """Read files that the libraries of other programs write, and compare with how these read them."""
    install(session, *tested(PACKAGES), *OTHERS)
    session.run("pytest", *(session.posargs or [str(ROOT / "tests" / "others")]))


def lowest_versions() -> list[str]:
    """What the packages declare as the lowest versions of others, as constraints for pip."""
    found = set()
    for package in PACKAGES:
        project = tomllib.loads((package.path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for requirement in project["dependencies"]:
            name, _, versions = requirement.partition(">=")
            if name not in {member.dist for member in PACKAGES}:
                found.add(f"{name}=={versions.partition(',')[0]}")
    return sorted(found)


@nox.session(default=False)
def floors(session: nox.Session) -> None:
    """Install the lowest versions that the packages declare, and go from a simulated scan to its scores."""
    with outside_the_tree(session) as folder:
        wheels = build_wheels(session, PACKAGES, folder)
        constraints = folder / "floors.txt"
        constraints.write_text("\n".join(lowest_versions()) + "\n", encoding="utf-8")
        session.run("python", "-m", "pip", "uninstall", "-qq", "--yes", *(member.dist for member in PACKAGES))
        session.run("python", "-m", "pip", "install", "--quiet", "-c", str(constraints), *wheels)
        session.run("python", "-m", "pip", "check")
        session.run("python", "-m", "pip", "list")
        command, quick = "ptycho-torch", ("--accelerator", "cpu", "--quiet")
        session.run(command, "simulate", "--output", "scan.npz", "--N", "32", "--grid", "6,6")
        session.run(command, "convert", "scan.npz", "scan_again.npz", "--quiet")
        session.run(
            command, "train", "--train-data-file", "scan_again.npz", "--output-dir", "model",
            "--nepochs", "2", *quick,
        )  # fmt: skip
        session.run(
            command, "infer", "--model-path", "model", "--test-data-file", "scan.npz",
            "--output-dir", "result", "--refine", "2", *quick,
        )  # fmt: skip
        session.run(command, "evaluate", "result/reconstruction.npz", "scan.npz", "--output-dir", "scores")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure again what takes minutes, and write the page on performance from all records."""
    install(session, *editable(PACKAGES))
    for name, *more in (
        ("epoch_cost",),
        ("cost_curves",),
        ("network_throughput",),
        ("start_up", "--rounds", "5"),
    ):
        record = ROOT / "benchmarks" / "results" / f"{name}.json"
        session.run("python", str(ROOT / "benchmarks" / f"{name}.py"), "--output", str(record), *more)
    session.run("python", str(ROOT / "docs" / "make_performance.py"))


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """Reconstruct the measured scan in data/ without a network and with one, compare; see demo_output/."""
    install(session, *editable(PACKAGES))
    scan = ROOT / "data" / "siemens_star_128.npz"
    reference = ROOT / "data" / "siemens_star_reference.npz"
    output = ROOT / "demo_output"
    refined, model, result = output / "refined", output / "model", output / "reconstruction"
    session.run(
        "ptycho-torch", "refine", "--data", str(scan), "--output-dir", str(refined), "--overwrite",
        "--epochs", "30", "--likelihood", "amplitude",
    )  # fmt: skip
    session.run(
        "ptycho-torch", "train", "--train-data-file", str(scan), "--output-dir", str(model), "--overwrite",
        "--max-epochs", "20", "--scheduler", "WarmupCosine", *session.posargs,
    )  # fmt: skip
    session.run(
        "ptycho-torch", "infer", "--model-path", str(model), "--test-data", str(scan),
        "--output-dir", str(result), "--overwrite", "--refine", "30", "--likelihood", "amplitude",
    )  # fmt: skip
    for folder, name in ((refined, "evaluation_refined"), (result, "evaluation")):
        session.run(
            "ptycho-torch", "evaluate", str(folder / "reconstruction.npz"), str(reference),
            "--output-dir", str(output / name), "--overwrite",
        )  # fmt: skip
    pictures = sorted(path.relative_to(ROOT) for path in output.rglob("*.png"))
    session.log("Pictures: " + ", ".join(str(path) for path in pictures))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the guides in docs/ as HTML; a warning, such as a link that leads nowhere, is an error."""
    install(session, "sphinx", "myst-parser")
    settings = {
        "extensions": "myst_parser",
        "root_doc": "index",
        "project": "ptycho-torch",
        "exclude_patterns": "_build",
        "myst_heading_anchors": "3",
    }
    defined = [argument for name, value in settings.items() for argument in ("-D", f"{name}={value}")]
    arguments = ["-W", "--keep-going", "-q", "-b", "html", "-C", *defined, "docs", "docs/_build/html"]
    session.run("sphinx-build", *arguments, *session.posargs)
    session.log("Open docs/_build/html/index.html")


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build source archives and wheels of all packages into dist/ and check what an index would refuse."""
    install(session, "build", "twine")
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    for package in PACKAGES:
        session.run("python", "-m", "build", "--outdir", str(dist), str(package.path))
    session.run("twine", "check", "--strict", *sorted(str(path) for path in dist.iterdir()))
