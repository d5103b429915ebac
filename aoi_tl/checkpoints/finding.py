"""Finding a checkpoint: in a folder, or among the files that Ultralytics downloads."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from aoi_tl.checkpoints.ultralytics_setup import prepare_ultralytics, quiet_ultralytics
from aoi_tl.errors import CheckpointError


def find_checkpoint(
    name: str, folders: Sequence[Path] = (), checksums: Mapping[str, str] | None = None
) -> Path:
    """Find a checkpoint file.

    Parameters
    ----------
    name : str
        A path, or a file name such as ``yolo11n.pt`` that is looked for in `folders` and then
        downloaded by Ultralytics into the first of them. Names of architectures (``yolo11n.yaml``)
        name no file: see `new_model`.
    folders : sequence of Path
        Where to look, in order.
    checksums : mapping of str to str, optional
        SHA-256 by file name; a file of that name must have it.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CheckpointError
        If it is nowhere and cannot be downloaded, or is not the file of its checksum.
    """
    given = Path(os.path.expanduser(name))  # a home that nobody has stays a name
    candidates = [given] if given.parent != Path() else [given, *(Path(f) / name for f in folders)]
    found = next((path for path in candidates if os.path.isfile(path)), None)
    if found is None:
        looked = ", ".join(str(path.parent) for path in candidates)
        cure = f"put {given.name} there, or give its path"
        if given.parent != Path() or not folders:
            raise CheckpointError(
                f"expected a checkpoint {name}, got no such file in {looked}; {cure}"
            )
        found = _download(given.name, Path(folders[0]), f"got no such file in {looked}", cure)
    wanted = (checksums or {}).get(found.name)
    if wanted is not None:
        actual = hashlib.sha256(found.read_bytes()).hexdigest()
        if actual != wanted:
            raise CheckpointError(
                f"expected {found} with SHA-256 {wanted}, got {actual}; "
                "download it again, or correct weights/registry.yaml"
            )
    return found.resolve()


def read_registry(path: Path) -> dict[str, str]:
    """Read the checksums of known checkpoints.

    Parameters
    ----------
    path : Path
        A YAML map: file name to ``{origin, sha256, licence}``.

    Returns
    -------
    dict of str to str
        SHA-256 by file name, of those that give one.

    Raises
    ------
    CheckpointError
        If the file is not such a map.
    """
    import yaml

    try:
        registry = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {
            name: str(entry["sha256"]).lower()
            for name, entry in registry.items()
            if entry.get("sha256")
        }
    except (OSError, yaml.YAMLError, AttributeError) as error:
        raise CheckpointError(
            f"expected a map of file names in {path}, got {type(error).__name__}; "
            "see weights/README.md"
        ) from error


def _download(name: str, folder: Path, got: str, cure: str) -> Path:
    prepare_ultralytics()
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

    if name not in GITHUB_ASSETS_NAMES:
        near = get_close_matches(name, sorted(GITHUB_ASSETS_NAMES), n=1)
        hint = f"did you mean {near[0]}? else " if near else ""
        raise CheckpointError(f"expected a checkpoint {name}, {got}; {hint}{cure}")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with quiet_ultralytics(verbose=sys.stderr.isatty()):
            return Path(attempt_download_asset(str(folder / name), retry=0))
    except Exception as error:  # offline, refused, disk full: the cure is the same
        raise CheckpointError(
            f"expected a checkpoint {name}, {got}, and it could not be downloaded "
            f"({type(error).__name__}); {cure}"
        ) from error
