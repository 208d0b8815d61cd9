"""Compile a C source on this machine, once, and keep the library for the next process."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

__all__ = ["load"]

_LOG = logging.getLogger(__name__)

_FLAGS = ("-std=c99", "-O3", "-shared", "-fPIC")
# Sums may be taken in another order, so that vectors can be made of them; NaN stays NaN.
_RELAXED = ("-fno-math-errno", "-fno-trapping-math", "-fassociative-math", "-fno-signed-zeros")
_TARGETS = (("-march=native",), ("-mcpu=native",), ())
_SECONDS = 120


def load(source: Path) -> ctypes.CDLL | None:
    """Library of a C source, compiled for this processor unless an earlier process did so.

    Parameters
    ----------
    source
        A file in C99 that needs no header beyond the standard library.

    Returns
    -------
    CDLL or None
        None where no compiler is found, or it fails; the log says which.
    """
    compiler = _compiler()
    if compiler is None:
        _LOG.info("no C compiler was found: %s is not compiled, torch does its work", source.name)
        return None
    text = source.read_text(encoding="utf-8")
    name = f"{source.stem}-{_digest(text, compiler)}.so"
    folder = _own_folder()
    if folder is not None and (folder / name).is_file():
        return _opened(folder / name)
    with tempfile.TemporaryDirectory(prefix="ptycho-torch-") as scratch:
        made = _compiled(compiler, source, Path(scratch) / name)
        if made is None:
            return None
        if folder is None:
            return _opened(made)
        return _opened(_kept(made, folder))


def _compiler() -> list[str] | None:
    """The compiler that CC names, that of this Python, or a usual one."""
    named = [os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang"]
    for words in (shlex.split(name) for name in named if name):
        if words and shutil.which(words[0]):
            return words
    return None


def _digest(text: str, compiler: list[str]) -> str:
    """What a library depends on: its source, the compiler, and the processor it was compiled for."""
    parts = [text, *compiler, *_FLAGS, *_RELAXED, platform.machine(), platform.system()]
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        parts += next(([line] for line in lines if line.startswith(("flags", "Features"))), [])
    else:
        parts.append(platform.processor())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _own_folder() -> Path | None:
    """Folder of this user for compiled libraries; None if there is none that nobody else can write to."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(base) if base else Path.home() / ".cache") / "ptycho-torch"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        state = folder.stat()
        foreign = hasattr(os, "getuid") and state.st_uid != os.getuid()
        return None if foreign or state.st_mode & 0o022 or not os.access(folder, os.W_OK) else folder
    except (OSError, RuntimeError):
        return None


def _compiled(compiler: list[str], source: Path, target: Path) -> Path | None:
    failure = ""
    for machine in _TARGETS:
        words = [*compiler, *_FLAGS, *_RELAXED, *machine, str(source), "-o", str(target), "-lm"]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            failure = str(error)
            continue
        if done.returncode == 0 and target.is_file():
            return target
        failure = done.stderr.strip()[-500:]
    _LOG.info("%s could not be compiled, torch does its work: %s", source.name, failure)
    return None


def _kept(made: Path, folder: Path) -> Path:
    """The library in the folder of this user: whole or not there, whoever else compiles it meanwhile."""
    try:
        handle, beside = tempfile.mkstemp(dir=folder, suffix=".part")
        os.close(handle)
        shutil.copyfile(made, beside)
        Path(beside).replace(folder / made.name)
    except OSError:
        return made
    return folder / made.name


def _opened(path: Path) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        _LOG.info("%s could not be loaded, torch does its work: %s", path, error)
        return None
