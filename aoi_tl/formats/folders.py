"""One folder of images per class: every image becomes one box of that class.

Such a set has no defect positions, but its counts and colours can be scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aoi_tl.errors import DataError
from aoi_tl.formats.record import Annotation, Findings, ImageFinder, Record, folder_split

# Folders of images without a defect.
FREE = frozenset(
    {
        "background",
        "clean",
        "defect_free",
        "defectfree",
        "flawless",
        "free",
        "good",
        "negative",
        "no_defect",
        "nodefect",
        "normal",
        "ok",
        "undefective",
    }
)


def read(source: Path, finder: ImageFinder, findings: Findings) -> Iterator[Record]:
    """Read ``<class>/<image>`` or ``<split>/<class>/<image>``; ``good``, ``ok``, ... are negatives.

    Parameters
    ----------
    source : Path
        The folder of folders.
    finder : ImageFinder
        Of the images below it.
    findings : Findings
    """
    if not source.is_dir():
        raise DataError(f"{source}: expected a folder for each class, got a file; name the folder")
    for image in finder.images:
        folders = image.relative_to(finder.folder).parts[:-1]
        split = folder_split(folders[:1])
        classes = folders[1:] if split else folders
        if not classes:
            findings.fault(
                str(image),
                "expected a folder named like its class around the image, got none; "
                "move it into one",
            )
            continue
        word = classes[0].casefold().replace("-", "_").replace(" ", "_")
        annotations = () if word in FREE else (Annotation(classes[0], (0.0, 0.0, 1.0, 1.0)),)
        finder.used.add(image)
        yield Record(image, annotations, str(image), split, share=True)
