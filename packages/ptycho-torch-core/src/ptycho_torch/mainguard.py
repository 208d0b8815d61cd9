"""Whether the script of a user can be imported by the processes that are started for it.

A process that is spawned runs the main script again, under another name, to know its functions. A script that
starts its work without looking at its name would start it there too: the new process ends with an error, and
the first one waits for it for ever. So the script is looked at before anything is started.
"""

from __future__ import annotations

import ast
import multiprocessing
import sys
import threading
from pathlib import Path
from types import FrameType, ModuleType

from ptycho_config import ConfigError, Problem

__all__ = ["require_main_guard"]

# Names that tell the first process from one that was started by it.
_TELLING = frozenset({"__name__", "parent_process", "current_process"})


def require_main_guard(setting: str, value: object, *, without: str) -> None:
    """Refuse to start processes for a script that would run itself again in each of them.

    Scripts are run again unless their name is asked for. Notebooks, consoles, ``python -c`` and
    ``python -m package`` are not.

    Parameters
    ----------
    setting, value
        What asks for the processes.
    without
        What to set instead, so that no process is started.

    Raises
    ------
    ConfigError
        The running line of the main script stands under no ``if __name__ == "__main__":``, or this is such a
        script run again.
    """
    main = sys.modules.get("__main__")
    run_again = getattr(multiprocessing.current_process(), "_inheriting", False)
    if not run_again and (main is None or not _is_run_again(main) or _is_guarded(main)):
        return
    expected = 'a script that starts its work under `if __name__ == "__main__":`'
    hint = f"the processes that it starts run the script again; add that line, or set {without}"
    raise ConfigError(Problem(setting, value, expected, hint))


def _is_run_again(main: ModuleType) -> bool:
    """Whether a spawned process runs the main module, as multiprocessing decides it."""
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return not (spec.name == "__main__" or spec.name.endswith(".__main__"))
    path = getattr(main, "__file__", None)
    return path is not None and Path(path).stem != "ipython"


def _is_guarded(main: ModuleType) -> bool:
    """Whether the lines of the main module that are running stand under a question for its name."""
    lines = _running_lines(main)
    if not lines:
        return True  # called by a thread or an event loop after the module was run
    try:
        tree = ast.parse(Path(str(main.__file__)).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True  # frozen, or compiled: nothing can be said
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If | ast.BoolOp | ast.IfExp)]
    return all(any(_covers(guard, line) and _asks(guard) for guard in guards) for line in lines)


def _running_lines(main: ModuleType) -> list[int]:
    """Lines at the top level of the main module that the stacks of this and of the main thread stand at."""
    stacks = {threading.get_ident(), threading.main_thread().ident}
    frames = sys._current_frames()
    lines = []
    for number in stacks:
        frame: FrameType | None = frames.get(number) if number is not None else None
        while frame is not None:
            if frame.f_globals is main.__dict__ and frame.f_code.co_name == "<module>":
                lines.append(frame.f_lineno)
            frame = frame.f_back
    return lines


def _covers(node: ast.expr | ast.stmt, line: int) -> bool:
    return node.lineno <= line <= (node.end_lineno or node.lineno)


def _asks(guard: ast.If | ast.BoolOp | ast.IfExp) -> bool:
    """Whether the condition names something that tells the processes apart."""
    condition = guard if isinstance(guard, ast.BoolOp) else guard.test
    names = {node.id for node in ast.walk(condition) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(condition) if isinstance(node, ast.Attribute)}
    return bool(names & _TELLING)
