"""One image file to bytes: opened, turned upright, in eight bits a channel, and resized."""

# Design: what an image looks like in a viewer is what a network sees. So it is turned as its EXIF orientation says,
# what is transparent shows white, and 16 bits become their upper 8. Turned down: Pillow's convert("RGB") alone, which
# Keras and torchvision use: it leaves photos lying on their side, shows whatever color a transparent pixel has
# under its transparency (often black on black), and with some versions of Pillow makes nearly all of a 16-bit image
# white. Files are read here and not by Pillow, which maps some into memory, where one that shrinks meanwhile ends the
# process; small ones in one go, because each call of the system gives the interpreter to another thread. Only the
# formats below are tried, whatever a file's name: among Pillow's others are those that start a program.

from __future__ import annotations

import errno
import functools
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .errors import DataError
from .pipeline import Cancelled
from .sources import one_line

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF")
HIGH_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
# At the peak: Pillow takes 4 for a pixel of several channels, and 4 more once it is turned; a progressive JPEG's
# coefficients take 6. What is not RGB or gray also needs its alpha and its copy on white.
PLAIN_BYTES, OTHER_BYTES = 10, 16
ROOM = 256 * 10**6  # bytes of images that are decoded at the same time; one that takes more is decoded alone
SMALL = 1 << 16  # bytes of a file that is read at once
ORIENTATION = 0x0112  # EXIF's tag


@functools.cache
def pillow() -> Any:
    """The module PIL.Image."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("images need Pillow: pip install streamnorm[images]", name="PIL") from error
    return Image


class Gate:
    """Lets work in, in the order in which it comes, while all that is in needs no more than `limit` together."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held, self._closed = limit, 0, False
        self._changed, self._first = threading.Condition(), threading.Lock()

    @contextmanager
    def inside(self, need: int) -> Iterator[None]:
        """Wait for room; work that needs more than there is at all goes in alone.

        Raises
        ------
        Cancelled
            If the gate is closed.
        """
        with self._first, self._changed:  # nothing small overtakes what waits for an empty room
            while not self._closed and self._held and self._held + need > self._limit:
                self._changed.wait()
            if self._closed:
                raise Cancelled
            self._held += need
        try:
            yield
        finally:
            with self._changed:
                self._held -= need
                self._changed.notify_all()

    def close(self) -> None:
        """Let nothing in any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def decode(file: str, size: tuple[int, int], mode: str, gate: Gate) -> bytes:
    """The pixels of an image.

    Parameters
    ----------
    file : str
    size : (int, int)
        Height and width of the result.
    mode : {"RGB", "L"}
    gate : Gate
        Bounds what is decoded at the same time.

    Returns
    -------
    bytes
        Of shape (height, width, channels).

    Raises
    ------
    DataError
        If the file is gone, damaged, no image, or too large.
    """
    Image = pillow()
    try:
        with _opened(file) as source:
            image = Image.open(source, formats=FORMATS)
            most = Image.MAX_IMAGE_PIXELS
            if most is not None and image.width * image.height > most:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            plain = image.mode in ("RGB", "L") and "transparency" not in image.info
            need = image.width * image.height * (PLAIN_BYTES if plain else OTHER_BYTES)
            with gate.inside(need), image:  # the image is closed, and its memory free, before the gate opens
                return _pixels(image, size, mode)
    except (DataError, Cancelled, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise many kinds, of damaged files above all
        raise DataError(f"{file}: {_what_is_wrong(error, file)}", file=file) from error


def _opened(file: str) -> BinaryIO:
    """A file's content; a pipe is empty here, which opening it otherwise would wait for."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    try:
        data = os.read(descriptor, SMALL + 1)
        if not data:
            raise _Empty
        if len(data) <= SMALL:
            return io.BytesIO(data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return open(os.dup(descriptor), "rb")
    finally:
        os.close(descriptor)


def _pixels(image: Image.Image, size: tuple[int, int], mode: str) -> bytes:
    """The pixels of an image that is open."""
    image.load()
    made = _in_eight_bits(image, mode)
    turn = _TURNS.get(_orientation(image))
    if turn is not None:
        made = made.transpose(pillow().Transpose(turn))
    if made.size != size[::-1]:
        made = made.resize(size[::-1], pillow().Resampling.BILINEAR)
    return made.tobytes()


# Pillow's Transpose for each EXIF orientation but the upright one.
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation; 1, upright, where there is none or it cannot be read."""
    if image.format == "TIFF":  # turned by Pillow, of which some versions leave the tag as it was
        return 1
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a viewer shows an image with damaged EXIF, too
        return 1


def _in_eight_bits(image: Image.Image, mode: str) -> Image.Image:
    """A loaded image as RGB or L, on white where it is transparent."""
    Image = pillow()
    if image.mode in HIGH_MODES or (image.mode == "I" and image.format in ("PNG", "PPM")):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise _UnknownRange
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        if image.mode == "La":
            image = image.convert("LA")
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        image = white
    return image if image.mode == mode else image.convert(mode)


class _Empty(Exception):
    """A file without a byte."""


class _UnknownRange(Exception):
    """Pixels of 32 bits: nobody knows which of their values is white."""


def _what_is_wrong(error: Exception, file: str) -> str:
    """What an error says about a file, and what to do."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, _UnknownRange):
        return "has pixels of 32 bits, whose range is not known: save it with 8 or 16 bits"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return (
            f"is larger than PIL.Image.MAX_IMAGE_PIXELS = {Image.MAX_IMAGE_PIXELS:,} allows ({one_line(error)}): raise "
            "that if you trust the file, or make it smaller"
        )
    if isinstance(error, FileNotFoundError):
        return "is gone since the folder was listed: put it back, or make the ImageFolder anew"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read: {error.strerror or errno.errorcode.get(error.errno, error.errno)}"
    if isinstance(error, _Empty):
        return "is empty: replace the file or remove it"
    if isinstance(error, UnidentifiedImageError):
        return "is not an image of a known format: replace the file or remove it"
    return f"is damaged ({one_line(error)}): replace the file or remove it"
