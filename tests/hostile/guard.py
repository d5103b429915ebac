"""Run command lines in a process that keeps account of what it reaches for.

``python -m tests.hostile.guard JOB.json``, with ``{"report": file, "commands": [[word, ...]]}``.
Connecting, asking for an address and starting an installer are written down and stopped.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

REACHES = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
           "socket.gethostbyaddr")
STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.startfile")
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod",
           "os.chown", "os.truncate", "os.utime", "os.setxattr")
INSTALLERS = ("pip", "uv", "conda", "apt", "ensurepip", "easy_install")
seen: dict[str, list[str]] = {"reached": [], "started": [], "changed": []}


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, str | bytes) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            seen["changed"].append(os.path.abspath(os.fsdecode(path)))
    elif event in CHANGES:
        # A link's or a rename's new place is the second; a link may point anywhere.
        places = arguments[1:2] if event in ("os.symlink", "os.link") else arguments[:2]
        seen["changed"] += [
            os.path.abspath(os.fsdecode(place)) for place in places
            if isinstance(place, str | bytes | os.PathLike)
        ]
    elif event in REACHES:
        told = repr(arguments[1:] if event == "socket.connect" else arguments)
        seen["reached"].append(f"{event} {told}")
        raise PermissionError(f"{event} {told}")
    elif event in STARTS:
        told = " ".join(map(str, arguments[:2]))
        seen["started"].append(told)
        if any(word in told for word in INSTALLERS):
            raise PermissionError(told)


def main(job: Path) -> None:
    asked = json.loads(job.read_text())
    sys.addaudithook(watch)
    from aoi_tl.cli import app
    from aoi_tl.errors import AoiTlError

    ends = []
    for words in asked["commands"]:
        try:
            app(words, standalone_mode=False)
            ends.append("done")
        except AoiTlError as error:
            ends.append(f"refused: {error}")
        except BaseException:
            ends.append(traceback.format_exc())
    Path(asked["report"]).write_text(json.dumps({"ends": ends, **seen}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
