from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_the_users_settings_are_left_alone(tmp_path: Path) -> None:
    """In a process of its own: nothing appears in the user's configuration folder."""
    code = "from aoi_tl.transfer.detector import new_model; new_model('yolov8n.yaml', ['a'], 0)"
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("YOLO_", "AOI_TL"))
    }
    environment |= {
        "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"), "MPLCONFIGDIR": str(tmp_path / "mpl"),
    }
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert ended.stdout == ended.stderr == ""
    assert not (tmp_path / "config" / "Ultralytics").exists()
    assert (tmp_path / "cache" / "aoi-tl" / "ultralytics").is_dir()


def test_careful_even_where_ultralytics_was_imported_before() -> None:
    code = (
        "import ultralytics.nn.tasks as t, ultralytics.utils as u, ultralytics.utils.events as e;"
        "from ultralytics.utils import checks as c;"
        "before = u.SETTINGS.file.read_bytes();"
        "from aoi_tl.checkpoints.ultralytics_setup import prepare_ultralytics as p; p();"
        "assert before == u.SETTINGS.file.read_bytes();"
        "print(t.SAFE_LOAD, u.AUTOINSTALL, c.AUTOINSTALL, c.ONLINE, e.events.enabled,"
        " u.SETTINGS['sync'])"
    )
    environment = {**os.environ, "YOLO_OFFLINE": "true"}
    for name in ("ULTRALYTICS_SAFE_LOAD", "YOLO_AUTOINSTALL"):
        environment.pop(name, None)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert ended.stdout.splitlines()[-1] == "True False False False False False"
