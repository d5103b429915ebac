"""What does a signature cost beside reading the image, and is it as good as k-means on all pixels?

Grey images are those of a folder (JPEGs, best real ones). Colour images are crops of photographs
that come with scikit-learn, scikit-image, Matplotlib and Ultralytics, written as JPEGs of quality
95. One core, CPU time, so that other jobs do not count; the two-core figure is time on the clock
and says little on a busy machine.

    pip install scikit-image                                                   # for its photographs
    python benchmarks/signatures.py ../shared/data
    python benchmarks/signatures.py ../shared/data --grey 100 --colour 10 --drawn 500   # brief
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from curves import draw_images
from figures import Figure, cpu_seconds, paired_seconds, show

from aoi_tl.data.images import read_image
from aoi_tl.similarity.signature import image_signature

K = 5


def inertia(pixels: np.ndarray, centroids: np.ndarray) -> float:
    nearest = np.full(len(pixels), np.inf)
    for centroid in centroids:
        np.minimum(nearest, ((pixels - centroid) ** 2).sum(axis=1), out=nearest)
    return float(nearest.sum())


def scikit_learn(pixels: np.ndarray) -> np.ndarray:
    from sklearn.cluster import KMeans

    return KMeans(K, n_init=10, random_state=0).fit(pixels).cluster_centers_


def grey_figures(files: list[Path], compared: int) -> list[Figure]:
    def decode() -> None:
        for file in files:
            cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)

    def whole() -> None:
        for file in files:
            image_signature(read_image(file), K)

    total, decoding = paired_seconds(whole, decode)
    images = [read_image(file) for file in files[:: max(1, len(files) // compared)][:compared]]
    theirs = sum(
        cpu_seconds(
            lambda i=i: scikit_learn(np.repeat(i.reshape(-1, 1), 3, axis=1).astype(float)), 1
        )
        for i in images
    )
    ours = sum(cpu_seconds(lambda i=i: image_signature(i, K)) for i in images)
    each = 1e3 / len(files)
    return [
        Figure(f"grey, {len(files)} files, reading included", f"{total * each:.3f} ms an image",
               f"decoding {decoding * each:.3f} ms", total / decoding, "<= 1.5"),
        Figure(f"grey, {len(images)} images, against scikit-learn on all pixels",
               f"{ours / len(images) * 1e3:.3f} ms", f"{theirs / len(images) * 1e3:.0f} ms",
               theirs / ours, ">= 500"),
    ]  # fmt: skip


PHOTOGRAPHS = (
    ("sklearn", "datasets/images", ("china.jpg", "flower.jpg")),
    ("skimage", "data", ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg",
                         "ihc.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg")),
    ("matplotlib", "mpl-data/sample_data", ("grace_hopper.jpg",)),
    ("ultralytics", "assets", ("bus.jpg", "zidane.jpg")),
)  # fmt: skip


def photographs(at_least: int = 0) -> list[np.ndarray]:
    """The photographs that are so many pixels high and wide, BGR."""
    found = []
    for package, folder, names in PHOTOGRAPHS:
        place = find_spec(package)
        if place is None or place.origin is None:
            raise SystemExit(f"expected photographs of {package}, got no such package; install it")
        for name in names:
            image = cv2.imread(str(Path(place.origin).parent / folder / name), cv2.IMREAD_COLOR)
            if image is not None and min(image.shape[:2]) >= at_least:
                found.append(image)
    return found


def crops(folder: Path, number: int, smallest: int, largest: int) -> list[Path]:
    rng = np.random.default_rng(5)
    files, photos = [], photographs(smallest)
    for i in range(number):
        photo = photos[i % len(photos)]
        size = [rng.integers(min(smallest, n), min(largest, n) + 1) for n in photo.shape[:2]]
        top, left = (rng.integers(0, n - m + 1) for n, m in zip(photo.shape, size, strict=False))
        files.append(folder / f"{smallest}-{i}.jpg")
        cv2.imwrite(str(files[-1]), photo[top : top + size[0], left : left + size[1]])
    return files


def colour_cost(files: list[Path], words: str) -> Figure:
    def decode() -> None:
        for file in files:
            cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)

    def whole() -> None:
        for file in files:
            image_signature(read_image(file), K)

    total, decoding = paired_seconds(whole, decode)
    each = 1e3 / len(files)
    return Figure(f"colour, {len(files)} files of {words}, reading included",
                  f"{total * each:.2f} ms an image", f"decoding {decoding * each:.2f} ms",
                  total / decoding, "<= 3")  # fmt: skip


def colour_figures(folder: Path, number: int) -> list[Figure]:
    small, large = crops(folder, number, 200, 700), crops(folder, number // 4, 640, 640)
    ratios = []
    for file in small:
        image = read_image(file)
        pixels = image.reshape(-1, 3).astype(float)
        best = inertia(pixels, scikit_learn(pixels))
        ratios.append(inertia(pixels, image_signature(image, K).centroids) / best)
    return [
        colour_cost(large, "640 x 640"),
        colour_cost(small, "200 to 700 px"),
        Figure(f"colour, worst inertia of {number}, mean {np.mean(ratios):.5f}",
               f"{max(ratios):.5f}", "scikit-learn, n_init 10", max(ratios), "<= 1.001"),
    ]  # fmt: skip


_FILL = """
import sys, tempfile, time
from pathlib import Path
from aoi_tl.caches.signature_cache import SignatureCache
from aoi_tl.engine import LocalEngine
if __name__ == "__main__":
    files = sorted(Path(sys.argv[1]).iterdir())
    with tempfile.TemporaryDirectory() as place:
        with SignatureCache(place, LocalEngine(int(sys.argv[2]))) as cache:
            started = time.perf_counter()
            cache.signatures(files, 5)
            print(time.perf_counter() - started)
"""


def two_core_figure(folder: Path, number: int) -> Figure:
    """Drawn images, so that there are enough to make up for starting the processes."""
    draw_images(folder / "drawn", number, 1024)
    os.sync()  # else the system writes them while they are read
    program = folder / "fill.py"  # a file, since the processes that it starts import it
    program.write_text(_FILL)

    def fill(jobs: int) -> float:
        command = [sys.executable, program, folder / "drawn", str(jobs)]
        return float(subprocess.run(command, check=True, capture_output=True).stdout)

    one = two = float("inf")
    for _ in range(2):  # in turn: a machine that others share is faster at times
        one, two = min(one, fill(1)), min(two, fill(2))
    return Figure(f"two cores, {number} grey files of 1024 x 1024", f"{two:.1f} s",
                  f"one core {one:.1f} s", one / two, ">= 1.8")  # fmt: skip


# The high-water mark of this very program: the one of getrusage is inherited from the parent.
_MEMORY = """
import sys
import numpy as np
import cv2, scipy
cv2.setNumThreads(1)
from aoi_tl.data.images import read_image
from aoi_tl.similarity.signature import image_signature
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
image_signature(np.zeros((8, 8, 3), np.uint8), 5)
before = peak()
for path in sys.argv[1:]:
    image_signature(read_image(path), 5)
print(peak() - before)
"""


def memory_figures(files: list[Path], folder: Path) -> list[Figure]:
    rng = np.random.default_rng(0)
    grain = rng.integers(0, 40, (512, 512), dtype=np.uint8)
    large = {
        "grey.png": np.tile(grain, (16, 16)),
        "deep.png": np.tile(grain, (16, 16)) * np.uint16(99),
    }
    large["colour.png"] = np.dstack([large["grey.png"], large["grey.png"] + 9, large["grey.png"]])
    figures = []
    cases = {f"{len(files)} files": files}
    for name, image in large.items():
        cv2.imwrite(str(folder / name), image)
        cases[f"8192 x 8192, {Path(name).stem}"] = [folder / name]
    del large
    for name, paths in cases.items():
        command = [sys.executable, "-c", _MEMORY, *map(str, paths)]
        used = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        figures.append(Figure(f"peak memory, {name}", f"{used:.0f} MiB", "400 MB",
                              used * 1.048576 / 400, "<= 1"))  # fmt: skip
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder with JPEGs, anywhere in it")
    parser.add_argument("--grey", type=int, default=400, help="how many of them")
    parser.add_argument("--compared", type=int, default=4, help="of those, by scikit-learn too")
    parser.add_argument("--colour", type=int, default=200, help="crops of the photographs")
    parser.add_argument("--drawn", type=int, default=4000, help="images for one core and two")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    every = sorted(arguments.folder.rglob("*.jpg"))
    every = [f for f in every[:: max(1, len(every) // (4 * arguments.grey))]
             if cv2.imread(str(f), cv2.IMREAD_UNCHANGED).ndim == 2]  # fmt: skip
    files = every[:: max(1, len(every) // arguments.grey)][: arguments.grey]
    if not files:
        raise SystemExit(
            f"expected grey JPEGs in {arguments.folder}, got none; name another folder"
        )
    with tempfile.TemporaryDirectory() as folder:
        figures = grey_figures(files, arguments.compared)
        figures += colour_figures(Path(folder), arguments.colour)
        figures += memory_figures(files, Path(folder))
        figures.append(two_core_figure(Path(folder), arguments.drawn))
    show(figures)


if __name__ == "__main__":
    main()
