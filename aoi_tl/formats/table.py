"""CSV tables with a row per box. Tools differ in the names of the columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from aoi_tl.data.images import image_fault, image_size
from aoi_tl.errors import DataError
from aoi_tl.formats.document import number, read_text
from aoi_tl.formats.masks import pieces
from aoi_tl.formats.record import Annotation, Findings, ImageFinder, Record, folder_split, split_of
from aoi_tl.formats.run_lengths import draw_runs

_COLUMNS = {
    "image": "image filename file_name file image_name image_path filepath path img img_path",
    "label": "label class class_name label_name category category_name defect name",
    "left": "xmin x1 x_min left bbox_x bbox_x1 xtl x",
    "top": "ymin y1 y_min top bbox_y bbox_y1 ytl y",
    "right": "xmax x2 x_max right bbox_x2 xbr",
    "bottom": "ymax y2 y_max bottom bbox_y2 ybr",
    "box_width": "bbox_width bbox_w box_width w",
    "box_height": "bbox_height bbox_h box_height h",
    "image_width": "image_width img_width",
    "image_height": "image_height img_height",
    "width": "width",
    "height": "height",
    "split": "split set subset usage",
}
_CURE = (
    "name columns like filename, class, xmin, ymin, xmax, ymax (or x, y, w, h) in the first line"
)


def read(source: Path, finder: ImageFinder, findings: Findings) -> Iterator[Record]:
    """Read a table with a line of column names, or with ``path, x1, y1, x2, y2, class`` and none.

    Commas, semicolons and tabs separate. Edges are ``xmin, ymin, xmax, ymax``, or ``x, y, w, h``
    with the upper left corner; in pixels, or as shares where none is above 1. A row without class
    and box is an image without defects. A column ``split`` is taken over; of several tables each
    is a split. Severstal's table, ``ImageId, ClassId, EncodedPixels``, is read too.
    """
    tables = dict(_tables_in(source) if source.is_dir() else [(source, None)])
    for table, (header, rows) in findings.each(list(tables), lambda file: _rows(file, findings)):
        split = tables[table]
        words = [word.strip().casefold().replace(" ", "_") for word in header]
        if "encodedpixels" in words:
            yield from _read_runs(table, words, rows, split, finder, findings)
        else:
            yield from _read_boxes(table, header, rows, split, finder, findings)


def _read_boxes(
    source: Path, header: list[str], rows: list[tuple[int, list[str]]], split: str | None,
    finder: ImageFinder, findings: Findings,
) -> Iterator[Record]:
    columns = _columns(header, source)
    spoiled: dict[str, str] = {}
    parsed: list[tuple[str, dict[str, str], tuple[float, float, float, float] | None]] = []
    for line, row in rows:
        cells = {what: row[at].strip() for what, at in columns.items() if at < len(row)}
        where = f"{source} line {line}"
        if not cells.get("image"):
            findings.fault(where, f"expected an image name, got none; {_CURE}")
            continue
        edges = _edges(cells)
        if edges is None and (cells.get("label") or any(cells.get(k) for k in ("left", "right"))):
            findings.fault(
                where, f"expected four numbers for the box, got {','.join(row)[:60]!r}; correct it"
            )
            spoiled.setdefault(cells["image"], where)
            parsed.append((where, {"image": cells["image"]}, None))
            continue
        parsed.append((where, cells, edges))
    flat = [value for _, _, edges in parsed if edges for value in edges]
    share = bool(flat) and max(flat) <= 1 and any(value != int(value) for value in flat)
    for where, cells, edges in parsed:
        own = split_of(cells.get("split", "")) or split
        image = finder.find(cells["image"], file=source, split=own)
        if image is None:
            findings.note("annotated images not found", where)
            continue
        yield Record(
            image,
            (Annotation(cells.get("label", ""), edges),) if edges else (),
            where,
            own,
            _size(cells),
            share,
            source,
            cells["image"] in spoiled,
        )


def _read_runs(
    source: Path, words: list[str], rows: list[tuple[int, list[str]]], split: str | None,
    finder: ImageFinder, findings: Findings,
) -> Iterator[Record]:
    """Read rows of run lengths: every connected piece of a class becomes a box."""
    places = {what: next((words.index(w) for w in names if w in words), None) for what, names in (
        ("image", ("imageid", "image_id", "image", "filename")),
        ("label", ("classid", "class_id", "class", "label")),
        ("both", ("imageid_classid",)), ("runs", ("encodedpixels",)),
    )}
    for line, row in rows:
        where = f"{source} line {line}"
        cells = {what: row[at].strip() if at is not None and at < len(row) else ""
                 for what, at in places.items()}
        name, label = cells["image"], cells["label"]
        if cells["both"]:
            name, _, label = cells["both"].rpartition("_")
        if not name:
            findings.fault(where, "expected an ImageId, got none; correct the row")
            continue
        image = finder.find(name, file=source, split=split)
        if image is None:
            findings.note("annotated images not found", where)
            continue
        annotations: tuple[Annotation, ...] = ()
        if cells["runs"] and cells["runs"] != "-1" and image_fault(image) is None:
            height, width = image_size(image)
            try:
                marked = draw_runs(cells["runs"], height, width)
            except ValueError:
                findings.fault(
                    where,
                    f"expected pairs of a first pixel and a length inside the image of {width} x "
                    f"{height} pixels, got {cells['runs'][:60]!r}; correct the row",
                )
                yield Record(image, (), where, split, file=source, faulty=True)
                continue
            annotations = tuple(Annotation(label or "defect", box) for box in pieces(marked))
        yield Record(image, annotations, where, split, file=source)


def _tables_in(folder: Path) -> list[tuple[Path, str | None]]:
    """The table of a folder, or of an unpacked zip; or one for each split."""
    tables = sorted(
        file for file in folder.rglob("*") if file.suffix.lower() in (".csv", ".tsv")
        and not file.stem.casefold().startswith("sample_submission")  # what Kaggle lays beside
    )
    splits = [folder_split(file.relative_to(folder).parts[:-1]) or split_of(file.stem)
              for file in tables]
    if len(tables) != 1 and (not tables or None in splits or len(set(splits)) < len(splits)):
        names = ", ".join(file.name for file in tables[:5])
        raise DataError(
            f"{folder}: expected one table (.csv), or one for each split, got {names or 'none'}; "
            "name the file itself"
        )
    return list(zip(tables, splits, strict=True))


def _rows(source: Path, findings: Findings) -> tuple[list[str], list[tuple[int, list[str]]]]:
    text = read_text(source)
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows: list[tuple[int, list[str]]] = []
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            findings.fault(
                f"{source} line {reader.line_num}",
                f"expected a CSV row, got: {error}; correct the file",
            )
            continue
        if row is None:
            break
        if any(cell.strip() for cell in row):
            rows.append((reader.line_num, row))
    if not rows:
        raise DataError(f"{source}: expected a row for each box, got an empty file; {_CURE}")
    _, top = rows[0]
    if len(top) == 6 and all(number(cell) is not None for cell in top[1:5]):
        return ["path", "x1", "y1", "x2", "y2", "class"], rows  # RetinaNet's, without a header
    return top, rows[1:]


def _columns(header: list[str], source: Path) -> dict[str, int]:
    words = [word.strip().casefold().replace(" ", "_") for word in header]
    columns = {}
    for what, names in _COLUMNS.items():
        for name in names.split():
            if name in words:
                columns[what] = words.index(name)
                break
    if "right" not in columns and "box_width" not in columns and "width" in columns:
        # Without a far edge, width and height can only be the box's.
        columns["box_width"] = columns.pop("width")
        if "height" in columns:
            columns["box_height"] = columns.pop("height")
    ends = {"right", "bottom"} <= columns.keys() or {"box_width", "box_height"} <= columns.keys()
    if not {"image", "label", "left", "top"} <= columns.keys() or not ends:
        raise DataError(
            f"{source}: expected columns for image, class and box, got {', '.join(header)[:100]}; "
            f"{_CURE}"
        )
    return columns


def _edges(cells: dict[str, str]) -> tuple[float, float, float, float] | None:
    left, top = number(cells.get("left")), number(cells.get("top"))
    right, bottom = number(cells.get("right")), number(cells.get("bottom"))
    width, height = number(cells.get("box_width")), number(cells.get("box_height"))
    if left is None or top is None:
        return None
    if right is not None and bottom is not None:
        return left, top, right, bottom
    if width is not None and height is not None and width >= 0 and height >= 0:
        return left, top, left + width, top + height
    return None


def _size(cells: dict[str, str]) -> tuple[int, int] | None:
    height = number(cells.get("image_height") or cells.get("height"))
    width = number(cells.get("image_width") or cells.get("width"))
    return (int(height), int(width)) if height and width else None
