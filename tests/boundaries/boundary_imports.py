"""Static import contract: reads every import statement, inside functions too, and runs none of them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from boundary_tree import Module

__all__ = ["RULES", "Import", "Rule", "imports_of", "violations"]

STANDARD_LIBRARY = tuple(sys.stdlib_module_names)
LIGHTNING = ("lightning", "pytorch_lightning", "lightning_fabric")
# Modules of the standard library and others that open files or look at the machine.
FILES = ("os", "io", "pathlib", "shutil", "tempfile", "zipfile", "tarfile", "gzip", "json", "csv", "pickle",
         "sqlite3", "subprocess", "socket", "h5py", "yaml", "tomllib")  # fmt: skip


@dataclass(frozen=True)
class Import:
    """One imported name: `target` is dotted, `inside_function` tells a lazy import from an eager one."""

    target: str
    line: int
    inside_function: bool


@dataclass(frozen=True)
class Rule:
    """What a part of the tree may import.

    Attributes
    ----------
    reason : str
        Sentence for the person who broke the rule.
    where : tuple of str
        Modules (with everything below them) that the rule governs.
    forbidden : tuple of str
        Modules, with everything below them, that may not be imported.
    allowed : tuple of str, optional
        When given, everything else is forbidden.
    except_in : tuple of str
        Modules, with everything below them, that the rule leaves alone.
    lazy_is_fine : bool
        Whether an import inside a function is permitted.
    """

    reason: str
    where: tuple[str, ...]
    forbidden: tuple[str, ...] = ()
    allowed: tuple[str, ...] | None = None
    except_in: tuple[str, ...] = ()
    lazy_is_fine: bool = False

    def governs(self, module: str) -> bool:
        return _within(module, self.where) and not _within(module, self.except_in)

    def permits(self, imported: Import) -> bool:
        if imported.inside_function and self.lazy_is_fine:
            return True
        if _within(imported.target, self.forbidden):
            return False
        return self.allowed is None or _within(imported.target, self.allowed)


PHYSICS_MAY_USE = (
    *("torch", "numpy", "jaxtyping"),
    *("ptycho_torch.physics", "ptycho_torch.types", "ptycho_torch.errors"),
)
REFERENCE_NAMES = tuple(
    f"ptycho_torch.{name}"
    for name in ("api", "config_params", "model", "lightning_utils", "train", "inference", "config_bridge")
)
PROGRAMS_OF_THE_REFERENCE = ("ptycho_torch.train", "ptycho_torch.inference")
EVERYWHERE = ("ptycho_config", "ptycho_torch", "ptycho_torch_cli")
RULES = (
    Rule(
        "ptycho_config stays light: standard library and PyYAML only",
        where=("ptycho_config",),
        allowed=(*STANDARD_LIBRARY, "yaml", "ptycho_config"),
    ),
    Rule(
        "dependencies point one way: the command line knows core, core does not know the command line",
        where=("ptycho_torch",),
        forbidden=("ptycho_torch_cli",),
        # Started as programs, with `python -m`, they hand over to the command that took their place.
        except_in=PROGRAMS_OF_THE_REFERENCE,
    ),
    Rule(
        "`ptycho` is another program: its presence promises a TensorFlow backend",
        where=EVERYWHERE,
        forbidden=("ptycho", "tensorflow"),
    ),
    Rule(
        "physics is pure: tensors and numbers in, tensors out; no trainer, no settings, no files",
        where=("ptycho_torch.physics",),
        forbidden=FILES,
        allowed=(*STANDARD_LIBRARY, *PHYSICS_MAY_USE),
    ),
    Rule(
        "compiled functions work on tensors: they know no scan, no settings and no solver",
        where=("ptycho_torch.native",),
        allowed=(*STANDARD_LIBRARY, "numpy", "torch", "ptycho_torch.native"),
    ),
    Rule(
        "only the training layer knows Lightning, so that everything below it can be used without a trainer",
        where=("ptycho_torch",),
        forbidden=(*LIGHTNING, "ptycho_torch.lightning"),
        except_in=("ptycho_torch.lightning", "ptycho_torch.workflows", "ptycho_torch.reference"),
    ),
    Rule(
        "workflows stand on top of core: nothing below calls them",
        where=("ptycho_torch",),
        forbidden=("ptycho_torch.workflows",),
        except_in=("ptycho_torch.workflows", "ptycho_torch.reference"),
    ),
    Rule(
        "what programs of the reference call is translated in one room, which nothing else needs",
        where=("ptycho_torch",),
        forbidden=("ptycho_torch.reference",),
        except_in=("ptycho_torch.reference", *REFERENCE_NAMES),
    ),
    Rule(
        "devices and processes serve the jobs: they know neither a job nor what a run leaves behind",
        where=("ptycho_torch.workflows.processes",),
        forbidden=tuple(f"ptycho_torch.workflows.{room}" for room in ("jobs", "runs", "components")),
    ),
    Rule(
        "the folder of a run serves the jobs: it knows no job, and no process beside its own",
        where=("ptycho_torch.workflows.runs",),
        forbidden=tuple(f"ptycho_torch.workflows.{room}" for room in ("jobs", "processes", "components")),
    ),
    Rule(
        "jobs are what the calls for embedders are made of",
        where=("ptycho_torch.workflows.jobs",),
        forbidden=("ptycho_torch.workflows.components",),
    ),
    Rule(
        "a network predicts from scans and tensors: no files, no pictures, no factories",
        where=("ptycho_torch.prediction",),
        forbidden=("ptycho_torch.config_factory", "ptycho_torch.results", "ptycho_torch.plotting"),
    ),
    Rule(
        "a trial solves a part of a scan: no files, no trainer, no pictures",
        where=("ptycho_torch.trials",),
        forbidden=(
            *FILES,
            *(f"ptycho_torch.{room}" for room in ("prediction", "config_factory", "results", "plotting")),
        ),
    ),
    Rule(
        "a live scan is an engine and what feeds it: no factories, no pictures, and nothing is unpickled",
        where=("ptycho_torch.live",),
        forbidden=(
            *("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"),
            *(f"ptycho_torch.{room}" for room in ("config_factory", "results", "plotting", "trials")),
        ),
    ),
    Rule(
        "frames are received, joined and kept without torch",
        where=tuple(
            f"ptycho_torch.live.{name}"
            for name in (
                *("arrivals", "counters", "frame_store", "looking", "measurement"),
                *("messages", "wire", "sockets", "feed", "source_registry", "sources", "codecs", "replay"),
            )
        ),
        forbidden=("torch", *LIGHTNING),
    ),
    Rule(
        "a scan is read, checked and simulated without torch",
        where=(
            *("ptycho_torch.data.formats", "ptycho_torch.data.hdf5", "ptycho_torch.data.scan"),
            *("ptycho_torch.data.format_facts", "ptycho_torch.data.format_module"),
            *("ptycho_torch.data.format_registry", "ptycho_torch.data.recognition"),
            *("ptycho_torch.data.npz_archive", "ptycho_torch.data.plain_pickle"),
            *("ptycho_torch.data.opening", "ptycho_torch.data.convert", "ptycho_torch.data.summary"),
        ),
        forbidden=("torch", *LIGHTNING),
    ),
    Rule(
        "a diagnosis looks at arrays and numbers: it reads no files, knows no scan and needs no torch",
        where=("ptycho_torch.diagnosis",),
        allowed=(
            *STANDARD_LIBRARY,
            *("numpy", "scipy", "ptycho_torch.diagnosis", "ptycho_torch.control", "ptycho_torch.errors"),
        ),
    ),
    Rule(
        "metrics compare arrays and need no torch",
        where=("ptycho_torch.metrics",),
        forbidden=("torch", *LIGHTNING),
    ),
    Rule(
        "core has no global state: only the factories fill the legacy dictionary, and nothing reads it",
        where=("ptycho_torch",),
        forbidden=("ptycho_config.params", "ptycho_config.cfg"),
        except_in=("ptycho_torch.config_factory",),
    ),
    Rule(
        "help and version answer at once: heavy packages are imported inside the function that runs a job",
        where=("ptycho_torch_cli",),
        forbidden=("torch", "numpy", "scipy", "matplotlib", "skimage", *LIGHTNING),
        lazy_is_fine=True,
    ),
)


def imports_of(module: Module) -> list[Import]:
    """Return everything a module imports, relative names made absolute.

    `from a import b` counts as `a.b`, because `b` may be a module; `import_module("a.b")` and
    `run_module("a.b")` count too.
    """
    tree = ast.parse(module.path.read_text(encoding="utf-8"), filename=str(module.path))
    return [
        Import(target, node.lineno, lazy)
        for node, lazy in _statements(tree)
        for target in _targets(node, module)
    ]


def violations(modules: Iterable[Module], rules: Iterable[Rule] = RULES) -> list[str]:
    """Return one line per forbidden import: file, line, what was imported, and the rule."""
    rules = tuple(rules)
    found = []
    for module in modules:
        governing = [rule for rule in rules if rule.governs(module.name)]
        for imported in imports_of(module) if governing else ():
            found += [
                f"{module.path}:{imported.line}: {module.name} imports {imported.target}; {rule.reason}"
                for rule in governing
                if not rule.permits(imported)
            ]
    return found


def _within(name: str, prefixes: Iterable[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _statements(node: ast.AST, lazy: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom | ast.Call):
            yield child, lazy
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _statements(child, lazy or function)


def _targets(node: ast.AST, module: Module) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = _absolute(node, module)
        return [base if alias.name == "*" else f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        target = node.args[0].value
        if function in {"import_module", "__import__", "run_module"} and isinstance(target, str):
            return [target]
    return []


def _absolute(node: ast.ImportFrom, module: Module) -> str:
    if node.level == 0:
        return node.module or ""
    parts = module.name.split(".")
    kept = parts[: len(parts) - node.level + (1 if module.is_package else 0)]
    return ".".join([*kept, node.module] if node.module else kept)
