"""The picture of an inspected image: rejecting boxes, and the verdict as its frame."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

#: Colours of frames and boxes; the verdict is also written, so colour is not the only cue.
COLOURS = {"pass": (0, 114, 178), "reject": (213, 94, 0)}


def verdict_image(
    pixels: NDArray[Any], verdict: str, boxes: Sequence[tuple[str, Sequence[float]]]
) -> bytes:
    """Draw boxes with their labels into an image, and the verdict above it.

    Parameters
    ----------
    pixels : uint8 or uint16 array of shape (height, width) or (height, width, 3)
        Grey or RGB.
    verdict : {"pass", "reject"}
    boxes : sequence of (label, (left, top, right, bottom))
        In pixels. A label is any text; what the font lacks shows as boxes.

    Returns
    -------
    bytes
        A JPEG file.
    """
    from matplotlib import font_manager
    from PIL import Image, ImageDraw, ImageFont

    from aoi_tl.data.images import to_8_bits

    image = Image.fromarray(to_8_bits(pixels)).convert("RGB")
    side = max(image.size)
    height, line = max(11, side // 40), max(1, side // 400)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), height)
    bar = round(height * 1.6)
    picture = Image.new("RGB", (image.width, image.height + bar), COLOURS[verdict])
    picture.paste(image, (0, bar))
    draw = ImageDraw.Draw(picture)
    draw.text((height // 2, bar // 8), verdict.upper(), fill="white", font=font)
    for label, (left, top, right, bottom) in boxes:
        draw.rectangle((left, top + bar, right, bottom + bar), outline=COLOURS["reject"],
                       width=line + 1)
        text = draw.textbbox((0, 0), label, font=font)
        x = max(0, min(left, picture.width - text[2]))
        y = top + bar - text[3] - 2 if top >= text[3] + 2 else bottom + bar
        draw.rectangle((x, y, x + text[2], y + text[3] + 1), fill=COLOURS["reject"])
        draw.text((x, y), label, fill="white", font=font)
    packed = io.BytesIO()
    picture.save(packed, "JPEG", quality=90)
    return packed.getvalue()
