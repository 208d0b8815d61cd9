"""The window of ptychodus, driven by its own buttons, menus, fields and dialogs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PyQt5.QtCore import Qt, QTimer
from PyQt5.QtGui import QImage
from PyQt5.QtTest import QTest
from PyQt5.QtWidgets import (
    QAction,
    QApplication,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QInputDialog,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QTableView,
    QToolButton,
    QWizard,
)

__all__ = ["Window"]

WAIT_S, JOB_S = 60.0, 3600.0
FRAMES, PRODUCT = "Ptychodus Training Data Files (*.h5 *.hdf5)", "Ptychodus Product Files (*.h5 *.hdf5)"
Answer = Callable[[QDialog], None]


def wait_until(true: Callable[[], bool], what: str, seconds: float = WAIT_S) -> None:
    """Let the window live until something is true of it."""
    for _ in range(int(seconds * 20)):
        if true():
            return
        QTest.qWait(50)
    raise TimeoutError(f"not within {seconds:.0f} s: {what}")


def click(button: QPushButton) -> None:
    """Click a button that a user could click."""
    assert button.isEnabled(), f"{button.text()} is grey"
    QTest.mouseClick(button, Qt.LeftButton)


def entry(menu: QMenu, text: str) -> QAction:
    """The entry of a menu with this text, which a user could choose."""
    action = next(action for action in menu.actions() if action.text() == text)
    assert action.isEnabled(), f"{text} is grey"
    assert action.isVisible(), f"{text} is hidden"
    return action


def choose(box: QComboBox, text: str) -> None:
    """Choose an entry of a list; the program hears of it as of a click."""
    index = box.findText(text)
    assert index >= 0, [box.itemText(number) for number in range(box.count())]
    box.setCurrentIndex(index)
    box.textActivated.emit(text)
    box.activated.emit(index)


def type_into(line: QLineEdit, text: str) -> None:
    """Replace what a field holds, and finish with the return key."""
    line.window().activateWindow()
    wait_until(line.window().isActiveWindow, "the window is in front")
    line.setFocus()
    wait_until(line.hasFocus, "the field has the focus")
    line.selectAll()
    QTest.keyClicks(line, text)
    QTest.keyClick(line, Qt.Key_Return)


def answering(*answers: Answer) -> None:
    """Answer the dialogs that come up next, one after the other."""
    waiting = list(answers)

    def look() -> None:
        dialog = QApplication.activeModalWidget()
        if dialog is not None:
            waiting.pop(0)(dialog)
        if waiting:
            QTimer.singleShot(100, look)

    QTimer.singleShot(0, look)


def name_file(path: Path, kind: str | None = None) -> Answer:
    """Type a path into a file dialog, after choosing the kind of file, and accept it."""

    def answer(dialog: QDialog) -> None:
        assert isinstance(dialog, QFileDialog), dialog
        if kind is not None:
            dialog.selectNameFilter(kind)
        line = dialog.findChild(QLineEdit, "fileNameEdit")
        line.clear()
        QTest.keyClicks(line, str(path))
        saves = dialog.acceptMode() == QFileDialog.AcceptSave
        buttons = dialog.findChild(QDialogButtonBox)
        click(buttons.button(QDialogButtonBox.Save if saves else QDialogButtonBox.Open))

    return answer


def choose_last(dialog: QDialog) -> None:
    """Choose the last entry of the list that a dialog offers."""
    assert isinstance(dialog, QInputDialog), dialog
    box = dialog.findChild(QComboBox)
    choose(box, box.itemText(box.count() - 1))
    click(dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.Ok))


class Window:
    """ptychodus' main window, as its program made it.

    Parameters
    ----------
    pictures
        Folder for grabs of the window, or None.
    """

    def __init__(self, pictures: Path | None = None) -> None:
        widgets = QApplication.topLevelWidgets()
        self.main: Any = next(widget for widget in widgets if type(widget).__name__ == "ViewCore")
        self.main.resize(1000, 640)
        self._pictures = pictures

    def show(self, panel: str) -> None:
        """Open a panel by its button in the bar on the left."""
        getattr(self.main, f"{panel}_action").trigger()
        QTest.qWait(100)

    def grab(self, name: str) -> None:
        """Keep a picture of the window, 1000 px wide."""
        if self._pictures is not None:
            QTest.qWait(300)
            picture = self.main.grab().toImage().scaledToWidth(1000, Qt.SmoothTransformation)
            picture = picture.convertToFormat(QImage.Format_Indexed8)
            assert picture.save(str(self._pictures / f"ptychodus-{name}.png"), quality=0)

    # Diffraction and Products

    def open_frames(self, path: Path) -> None:
        """Diffraction, Insert, Open File, through the pages of its wizard.

        The program must have been started in the folder of the file, which the wizard lists.
        """
        self.show("diffraction")
        entry(self.main.diffraction_view.button_box.insert_menu, "Open File...").trigger()
        widgets = QApplication.topLevelWidgets()
        wizard = next(one for one in widgets if isinstance(one, QWizard) and one.isVisible())
        page = wizard.currentPage()
        choose(page.findChild(QComboBox), FRAMES)
        _click_row(page.findChild(QTableView), path.name)
        following, finish = (wizard.button(button) for button in (QWizard.NextButton, QWizard.FinishButton))
        wait_until(following.isEnabled, "the wizard accepts the file")
        click(following)
        wait_until(lambda: wizard.currentPage() is not page, "the page of metadata")
        click(following)
        wait_until(finish.isVisible, "the page of processing")
        click(finish)
        wait_until(self.main.diffraction_view.button_box.save_button.isEnabled, "the frames are loaded")

    def open_product(self, path: Path) -> None:
        """Products, Insert, Open File; for the frames that are open."""
        self.show("product")
        answering(name_file(path, PRODUCT), choose_last)
        entry(self.main.product_view.button_box.insert_menu, "Open File...").trigger()
        wait_until(self.main.product_view.button_box.save_button.isEnabled, "the product is loaded")

    def save_product(self, row: int, path: Path) -> None:
        """Products, Save, Save File."""
        self.show("product")
        self.main.product_view.table_view.selectRow(row)
        answering(name_file(path, PRODUCT))
        entry(self.main.product_view.button_box.save_menu, "Save File...").trigger()

    def show_object(self, row: int, renderer: str) -> None:
        """Object: select a product, choose how it is drawn, and fit it to the window."""
        self.show("object")
        tree, image = self.main.object_view.tree_view, self.main.object_image_view
        rectangle = tree.visualRect(tree.model().index(row, 0))
        QTest.mouseClick(tree.viewport(), Qt.LeftButton, pos=rectangle.center())
        choose(image.image_ribbon.colormap_group_box.renderer_combo_box, renderer)
        click(image.image_ribbon.data_range_group_box.auto_button)
        click(image.image_ribbon.image_tools_group_box.home_button)

    # Processing

    @property
    def _choices(self) -> list[QComboBox]:
        return self.main.processing_view.findChildren(QComboBox)

    def button(self, text: str) -> QPushButton:
        """A button of Processing."""
        buttons = self.main.processing_view.findChildren(QPushButton)
        return next(button for button in buttons if button.text() == text)

    def choose_algorithm(self, name: str) -> None:
        """Processing, Algorithm."""
        self.show("processing")
        choose(self._choices[0], name)

    def choose_product(self, row: int) -> None:
        """Processing, Product."""
        self.show("processing")
        self._choices[1].setCurrentIndex(row)

    @property
    def product(self) -> str:
        """Name of the product that is chosen."""
        return self._choices[1].currentText()

    def set_field(self, label: str, value: object) -> None:
        """Type a value into the field beside a label of the algorithm that is shown."""
        labels = self.main.processing_view.findChildren(QLabel)
        beside = next(one for one in labels if one.isVisible() and one.text() == label).buddy()
        type_into(beside, str(value))

    def choose_action(self, text: str, *answers: Answer) -> None:
        """An entry of the menu beside the buttons, and answers to its dialogs."""
        buttons = self.main.processing_view.findChildren(QToolButton)
        menu = next(button.menu() for button in buttons if button.menu() is not None)
        answering(*answers)
        entry(menu, text).trigger()

    def run(self, button: str, *answers: Answer) -> str:
        """Press Train or Infer, and wait for the end of the job; returns what the pane said about it."""
        status = self.main.processing_status_view
        pane, stop = status.text_edit, status.stop_button
        before = pane.toPlainText()
        answering(*answers)
        click(self.button(button))
        wait_until(stop.isVisible, "the job runs")
        wait_until(lambda: not stop.isVisible(), "the end of the job", JOB_S)
        return pane.toPlainText().removeprefix(before)


def _click_row(table: QTableView, name: str) -> None:
    def row() -> int:
        inside, model = table.rootIndex(), table.model()
        names = [model.index(number, 0, inside).data() for number in range(model.rowCount(inside))]
        return names.index(name) if name in names else -1

    wait_until(lambda: row() >= 0, f"the folder lists {name}")
    index = table.model().index(row(), 0, table.rootIndex())
    QTest.mouseClick(table.viewport(), Qt.LeftButton, pos=table.visualRect(index).center())
