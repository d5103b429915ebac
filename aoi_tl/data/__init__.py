"""Detection datasets: images, boxes and class names, read, written and split."""

import os

# OpenCV reads this once, when it is imported: an image of more pixels (16384 x 16384) is a bomb.
# Ultralytics, which reads images by itself, is held to it as well.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 28))
