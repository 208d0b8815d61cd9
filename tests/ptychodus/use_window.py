"""ptychodus, started as its users start it but without a screen, and used by its buttons.

    python tests/ptychodus/use_window.py train FOLDER [PICTURES]
    python tests/ptychodus/use_window.py load FOLDER

FOLDER holds ``frames.h5`` and ``product.h5``. ``train`` writes a folder ``training`` into it, with what was
exported and the run, and ``trained.h5``; ``load`` takes ``model.ckpt`` and writes ``loaded.h5``. Both write
``seen-*.json``: what the window showed. PICTURES receives pictures of the window. MODEL_SIZE and EPOCHS of
the environment are typed into their fields.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ALGORITHM = "ptychopinn-torch_unsupervised"


def use(window: Any, folder: Path, *, epochs: int) -> None:
    """Open a scan and set up a training."""
    window.open_frames(folder / "frames.h5")
    window.open_product(folder / "product.h5")
    window.choose_algorithm(ALGORITHM)
    window.set_field("Model Size:", os.environ.get("MODEL_SIZE", "32"))
    window.set_field("Default Epochs:", epochs)


def train(window: Any, folder: Path) -> dict[str, Any]:
    """From a scan to a saved product: export, train, infer, save."""
    from window import name_file

    use(window, folder, epochs=int(os.environ.get("EPOCHS", "2")))
    training, empty = folder / "training", folder / "empty"
    training.mkdir()
    empty.mkdir()
    seen: dict[str, Any] = {"refused": window.run("Train", name_file(empty))}
    window.choose_action("Export Training Data...", name_file(training / "exported.npz"))
    seen["before"] = window.button("Infer").isEnabled()
    seen["training"] = window.run("Train", name_file(training))
    seen["after"] = window.button("Infer").isEnabled()
    # ptychodus looks whether there is a model when another algorithm is chosen.
    window.choose_algorithm(ALGORITHM.replace("un", "", 1))
    window.choose_algorithm(ALGORITHM)
    seen["again"] = window.button("Infer").isEnabled()
    window.grab("training")
    seen["inference"] = window.run("Infer")
    seen["product"] = window.product
    window.show_object(1, "Phase")
    window.grab("object")
    window.save_product(1, folder / "trained.h5")
    return seen


def load(window: Any, folder: Path) -> dict[str, Any]:
    """From a checkpoint to a saved product."""
    from window import name_file

    use(window, folder, epochs=1)
    window.choose_action("Load Model...", name_file(folder / "model.ckpt"))
    seen = {"again": window.button("Infer").isEnabled(), "inference": window.run("Infer")}
    window.save_product(1, folder / "loaded.h5")
    return seen


def main(job: Callable[[Any, Path], dict[str, Any]], folder: Path, pictures: Path | None) -> int:
    """Start the program; its event loop is that of a user who does ``job`` and leaves."""
    from ptychodus.__main__ import main as program
    from PyQt5.QtWidgets import QApplication

    def user() -> int:
        from window import Window

        seen = job(Window(pictures), folder)
        (folder / f"seen-{job.__name__}.json").write_text(json.dumps(seen), encoding="utf-8")
        return 0

    QApplication.exec = staticmethod(user)
    # Its file dialogs begin where it was started.
    os.chdir(folder)
    sys.argv = ["ptychodus"]
    return program()


# Processes that train import this file again.
if __name__ == "__main__":
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    chosen, place, *more = sys.argv[1:]
    sys.exit(main({"train": train, "load": load}[chosen], Path(place), Path(more[0]) if more else None))
