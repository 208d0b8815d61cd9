"""One page about a run that opens without a network: pictures inside the file, no script.

The page is made from what the run has written: settings and their origin from ``resolved_config.json``,
scores from ``metrics.json``, figures from the PNG files beside it.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from ptycho_torch.atomic import atomic_write
from ptycho_torch.metrics.report import score_rows

__all__ = ["REPORT_NAME", "Picture", "write_html_report"]

REPORT_NAME = "report.html"
"""Name of the page in the folder of a run."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG file of the run and what it shows."""

    name: str
    caption: str


_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 2rem 4rem; color: #1c2530; background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .7rem; padding-bottom: .25rem; border-bottom: 2px solid #0072b2; }
p.when { color: #5b6875; margin: .2rem 0 1.4rem; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .7rem;
  margin: 0; }
dl.facts div { background: #f2f5f8; border-radius: .4rem; padding: .55rem .8rem; }
dt { color: #5b6875; font-size: .8rem; }
dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
div.pictures { display: flex; flex-wrap: wrap; gap: 1.2rem; align-items: flex-start; }
figure { margin: 0; flex: 1 1 26rem; }
figure.wide { flex-basis: 100%; }
figure img { max-width: 100%; height: auto; border: 1px solid #d8dfe6; border-radius: .3rem; }
figcaption { color: #5b6875; font-size: .85rem; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th { text-align: left; color: #5b6875; font-weight: 600; border-bottom: 1px solid #b9c4ce; }
th, td { padding: .25rem .9rem .25rem 0; vertical-align: top; }
td { border-bottom: 1px solid #e6ebf0; overflow-wrap: anywhere; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { background: #f2f5f8; border-radius: .4rem; padding: .7rem .9rem; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: .85rem; }
details { margin: .8rem 0; }
summary { cursor: pointer; color: #0072b2; }
@media print { body { max-width: none; padding: 0; } figure, table { break-inside: avoid; } }
</style>
</head>
<body>
<h1>$title</h1>
<p class="when">$when</p>
$body
</body>
</html>
""")


def write_html_report(
    directory: Path, *, title: str, facts: Sequence[tuple[str, str]], pictures: Sequence[Picture]
) -> Path:
    """Write ``report.html`` about the run in a directory.

    Parameters
    ----------
    directory
        Holds ``resolved_config.json``, the pictures and, if the truth is known, ``metrics.json``.
    title
        What was done.
    facts
        What matters most, as name and value.
    pictures
        PNG files to show, in order; those that the run did not write are left out.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    FileNotFoundError
        If the directory holds no ``resolved_config.json``.
    """
    record = json.loads((directory / "resolved_config.json").read_text(encoding="utf-8"))
    sections = [
        _facts(facts),
        _pictures(directory, pictures),
        _scores(directory / "metrics.json"),
        _section("Command", f"<pre>{_text(_command(record['command']))}</pre>"),
        _settings(record),
        _files(directory),
        _section("Versions", _table(("package", "version"), list(record["versions"].items()))),
    ]
    page = _PAGE.substitute(
        title=_text(title),
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        body="\n".join(section for section in sections if section),
    )
    path = directory / REPORT_NAME
    with atomic_write(path) as stream:
        # Names of files may hold bytes that are no UTF-8; they reach this place as lone surrogates.
        stream.write(page.encode("utf-8", "replace"))
    return path


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _section(heading: str, body: str) -> str:
    return f"<section>\n<h2>{_text(heading)}</h2>\n{body}\n</section>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[int] = ()) -> str:
    """Table whose columns named in ``numbers`` are aligned to the right."""
    css = [' class="n"' if column in numbers else "" for column in range(len(heads))]
    head = "".join(f"<th{css[i]}>{_text(name)}</th>" for i, name in enumerate(heads))
    lines = [
        "<tr>" + "".join(f"<td{css[i]}>{_text(cell)}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in rows
    ]
    body = "\n".join(lines)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    items = "\n".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in facts)
    return f'<dl class="facts">\n{items}\n</dl>'


def _pictures(directory: Path, pictures: Sequence[Picture]) -> str:
    shown = []
    for picture in pictures:
        path = directory / picture.name
        if not path.is_file():
            continue
        content = path.read_bytes()
        # Width and height stand in the header of a PNG file, from byte 16 on.
        width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
        kind = ' class="wide"' if width > 1.4 * height else ""
        data = base64.b64encode(content).decode("ascii")
        shown.append(
            f"<figure{kind}>\n"
            f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" '
            f'alt="{_text(picture.caption)}">\n'
            f"<figcaption>{_text(picture.caption)}</figcaption>\n</figure>"
        )
    return _section("Pictures", '<div class="pictures">\n' + "\n".join(shown) + "\n</div>") if shown else ""


def _scores(path: Path) -> str:
    if not path.is_file():
        return ""
    metrics = json.loads(path.read_text(encoding="utf-8"))
    if "scores" not in metrics:
        return ""
    rows = score_rows(metrics["scores"], metrics["flat"])
    table = _table(("score", "object", "flat object", "unit", "better"), rows, numbers=(1, 2))
    note = (
        "<p>Against the known object, over the region that is well covered. A flat object took the same way: "
        "what does not beat it shows nothing.</p>"
    )
    bars = metrics.get("coverage") or {}
    told = _coverage(bars) if bars else ""
    return _section("Scores", f"{note}\n{table}{told}")


def _coverage(bars: Mapping[str, Mapping[str, Any]]) -> str:
    """Table of how often the error lies within each kind of error bar."""
    rows: list[tuple[str, str, str]] = []
    for name, found in bars.items():
        for count in ("one", "two"):
            share, right = found[f"within_{count}"], found[f"expected_within_{count}"]
            rows.append((f"errors within {count} {name}", f"{share:.2f}", f"{right:.2f}"))
        rows.append((f"rms error, and rms {name}", f"{found['rms_error']:.4f}", f"{found['rms_sigma']:.4f}"))
    return "\n" + _table(("error bars", "found", "right"), rows, numbers=(1, 2))


def _command(command: str | Sequence[str]) -> str:
    if isinstance(command, str):
        return command
    return shlex.join(command) if command else "started from Python"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _settings(record: Mapping[str, Any]) -> str:
    stated: list[tuple[str, str, str, str]] = []
    default: list[tuple[str, str, str, str]] = []
    for name, item in record["provenance"].items():
        origin = f"{item['layer']}: {item['source']}" if item["source"] else item["layer"]
        over = ", ".join(f"{layer} {_value(value)}" for layer, value in item["outranked"])
        row = (name, _value(item["value"]), origin, over)
        (default if item["layer"] == "default" else stated).append(row)
    heads = ("setting", "value", "origin", "outranked")
    parts = [_table(heads, stated)] if stated else ["<p>Every setting is at its default.</p>"]
    if default:
        table = _table(heads[:2], [row[:2] for row in default])
        parts.append(
            f"<details>\n<summary>{len(default)} settings at their default</summary>\n{table}\n</details>"
        )
    if record["notes"]:
        notes = "\n".join(f"<li>{_text(note)}</li>" for note in record["notes"])
        parts.append(f"<ul>\n{notes}\n</ul>")
    return _section("Settings", "\n".join(parts))


def _files(directory: Path) -> str:
    rows = []
    for path in sorted(directory.iterdir()):
        if path.name == REPORT_NAME or path.name.startswith(".") or path.name.startswith("incomplete-"):
            continue
        if not path.exists():
            # A link to nowhere.
            continue
        if path.is_dir():
            inside = [item for item in path.rglob("*") if item.is_file()]
            size = sum(item.stat().st_size for item in inside)
            noun = "file" if len(inside) == 1 else "files"
            rows.append((f"{path.name}/ ({len(inside)} {noun})", _size(size)))
        else:
            rows.append((path.name, _size(path.stat().st_size)))
    return _section("Files", _table(("file", "size"), rows, numbers=(1,)))


def _size(n_bytes: int) -> str:
    size, units = float(n_bytes), ["B", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}"
