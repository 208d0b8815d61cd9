"""The page about a run: whole, safe, and made of what the run wrote."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from ptycho_torch.html_report import Picture, write_html_report
from ptycho_torch.metrics import compare
from ptycho_torch.plotting import save_training_figure

VOID = {"meta", "img", "br"}
HOSTILE = '<script>alert("a&b")</script>\' $body ${title}'


class Page(HTMLParser):
    """Parse a page; complain about tags that do not match."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.images, self.cells = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), name
            assert name not in ("href", "srcset", "action", "style"), (name, value)
            if name == "src":
                assert value.startswith("data:image/png;base64,")
                self.images.append(base64.b64decode(value.partition(",")[2], validate=True))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())
            if self.open[-1] in ("td", "th"):
                self.cells.append(data.strip())


@pytest.fixture
def run(tmp_path):
    """Folder of a run with settings, a picture and scores."""
    record = {
        "command": ["ptycho-torch", "train", "--train-data-file", "my scan.npz"],
        "versions": {"torch": "2.9", "ptycho-config": "0.1.0"},
        "provenance": {
            "nepochs": {"value": 30, "layer": "cli", "source": "", "outranked": [["default", 50]]},
            "N": {"value": 64, "layer": "data", "source": "probe in scan.npz", "outranked": []},
            "max_time": {"value": None, "layer": "default", "source": "", "outranked": []},
            "learning_rate": {"value": 0.001, "layer": "default", "source": "", "outranked": []},
        },
        "notes": ["frames were cropped"],
    }
    (tmp_path / "resolved_config.json").write_text(json.dumps(record))
    save_training_figure(tmp_path / "training.png", {"train_loss": [3.0, 2.0]})
    return tmp_path


def _write(run, **changes):
    settings = {
        "title": "Training",
        "facts": [("epochs", "2 of 30")],
        "pictures": [Picture(name="training.png", caption="Loss")],
        **changes,
    }
    text = write_html_report(run, **settings).read_text(encoding="utf-8")
    return text, Page(text)


@pytest.mark.rule("RUN-071")
def test_pictures_are_inside_and_nothing_comes_from_elsewhere(run):
    text, page = _write(run)
    assert page.images == [(run / "training.png").read_bytes()]
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert not re.search(r"https?:|//\w|url\(|@import", re.sub(r'base64,[^"]*', "", text))


@pytest.mark.rule("RUN-071")
def test_everything_that_was_written_is_named(run):
    (run / "logs").mkdir()
    (run / "logs" / "metrics.csv").write_text("a" * 1500)
    _, page = _write(run)
    for words in ("Training", "2 of 30", "Loss", "frames were cropped", "2 settings at their default"):
        assert words in page.texts
    assert "ptycho-torch train --train-data-file 'my scan.npz'" in page.texts
    rows = "|".join(page.cells)
    assert "nepochs|30|cli|default 50" in rows
    assert "N|64|data: probe in scan.npz" in rows
    assert "max_time|none|learning_rate|0.001" in rows
    assert "logs/ (1 file)|1.5 kB" in rows
    assert "training.png|" in rows
    assert "torch|2.9" in rows


@pytest.mark.rule("RUN-071")
def test_scores_stand_beside_those_of_a_flat_object(run):
    rng = np.random.default_rng(0)
    truth = 1 + 0.2 * rng.normal(size=(48, 48)) + 0.3j * rng.normal(size=(48, 48))
    report = compare(truth + 0.05, truth, probe_diameter=6)
    _, page = _write(run)
    assert "Scores" not in page.texts
    (run / "metrics.json").write_text(json.dumps(report.to_dict()))
    _, page = _write(run)
    ours, flat = report.scores.complex_nrmse, report.flat.complex_nrmse
    assert f"complex normalised RMSE|{ours:.4f}|{flat:.4f}|lower" in "|".join(page.cells)


@pytest.mark.rule("RUN-072")
def test_hostile_names_stay_text(run):
    (run / "<b>&.txt").write_text("")
    record = json.loads((run / "resolved_config.json").read_text())
    record["command"] = ["ptycho-torch", HOSTILE]
    record["provenance"]["train_data_file"] = {
        "value": HOSTILE,
        "layer": HOSTILE,
        "source": HOSTILE,
        "outranked": [["file", HOSTILE]],
    }
    record["notes"], record["versions"] = [HOSTILE], {HOSTILE: HOSTILE}
    (run / "resolved_config.json").write_text(json.dumps(record))
    picture = Picture(name="training.png", caption=HOSTILE)
    text, page = _write(run, title=HOSTILE, facts=[(HOSTILE, HOSTILE)], pictures=[picture])
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert "<b>&.txt" in page.cells
    assert page.texts.count(HOSTILE) >= 7
    assert "<script" not in text


def test_a_name_that_is_no_text_can_be_shown(run):
    _, page = _write(run, title=b"scan\xff.npz".decode("utf-8", "surrogateescape"))
    assert "scan?.npz" in page.texts


def test_a_picture_that_was_not_drawn_is_left_out(run):
    _, page = _write(run, pictures=[Picture(name="phase.png", caption="Phase")])
    assert page.images == []
    assert "Pictures" not in page.texts


def test_without_settings_there_is_no_page(tmp_path):
    with pytest.raises(FileNotFoundError, match="resolved_config"):
        write_html_report(tmp_path, title="", facts=[], pictures=[])
    assert not list(tmp_path.iterdir())
