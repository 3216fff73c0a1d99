"""Images from a folder, scaled, in batches for training: decoded as they are needed, in bounded memory."""

# Design: files are decoded anew in every epoch, by threads (Pillow lets others run while it decodes), straight into
# the batch that the caller gets: an image's bytes are looked up in a table of what the scaler makes of each of the 256
# values. So memory holds a few batches and the images that are being decoded, whatever the folder holds. Statistics are
# fitted when they are first needed, so that a split comes before them. Turned down: a cache of decoded images, which
# is what arrays() gives to those who have the room, and affine arithmetic on floats, which rounds twice.

from __future__ import annotations

import copy
import os
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Self

import numpy as np

from ._batch_columns import whole_number
from ._batch_rows import random_key
from ._image_decoding import ROOM, Gate, decode, pillow
from ._image_files import by_folder, by_table, find_images
from ._image_order import Group, groups_of, in_order
from ._rows import map_pixels, words
from .errors import DataError
from .memory import steady_allocator
from .pipeline import usable_cores
from .scalers import METHODS, BaseScaler
from .scalers._methods import new_scaler

__all__ = ["ImageFolder"]

MODES = {"rgb": ("RGB", 3), "gray": ("L", 1)}
MOST_THREADS = 8  # by default: small images keep the interpreter's lock for half of their time
FITTED_AT_ONCE = 1 << 18  # values
ORDER, SPLIT = 1, 3  # what random words are for


class ImageFolder:
    """Scaled and shuffled batches of the images in a folder, epoch after epoch.

    Parameters
    ----------
    path : path
        The folder: with `targets` "folders" it holds a folder for each class, as Keras' ``flow_from_directory`` and
        torchvision's ``ImageFolder`` have it, and images are anywhere below those. Hidden files and folders, and files
        whose names do not end as those of images do (.png, .jpg, .gif, .bmp, .webp, .tif, ...), are left out.
    size : int or (int, int), default (64, 64)
        Height and width. Images of another size are resized bilinearly, by Pillow, whatever their proportions.
    batch_size : int, default 32
    color : {"rgb", "gray"}, default "rgb"
        Three channels or one.
    scaler : str, scaler, or None, default "unit"
        What becomes of the pixels x, which are 0 to 255: "unit": x / 255; "signed": x / 127.5 - 1; None: x itself.
        "standard", "minmax", "robust", "maxabs", or a scaler that is not fitted: fitted on the channels, over all
        pixels of these images, in one pass when it is first needed. A fitted scaler: of as many columns as there are
        channels.
    targets : {"folders"}, path, mapping, or None, default "folders"
        A CSV or Parquet file of two columns, or a mapping: path of an image relative to the folder, with forward
        slashes, to a number (regression) or the name of a class. None: there are no targets.
    shuffle : bool, default True
        False: in the order of `paths`.
    seed : int, default 0
    threads : int or None
        Threads that decode; None: one a core, at most 8; 1: everything happens in the thread that iterates. Batches do
        not depend on it.
    ahead : int, default 2
        Batches that are made before they are asked for, if there are threads.
    target_columns : (str, str) or None
        The columns of paths and targets, in a file with more than two.
    missing : {"error", "drop"}, default "error"
        What happens to images without a target.

    Attributes
    ----------
    paths : list of str
        The images, relative to `path`, sorted folder by folder.
    classes : list of str, or None
        Their names, sorted; None if the targets are numbers, or there are none.
    targets : ndarray of shape (n,), or None
        For each of `paths`: the place of its class in `classes` (int64), or its number (float32).
    scaler_ : scaler or None
        The fitted scaler, fitted now if it was not; None for "unit", "signed" and None.
    epoch : int
        The number of the next epoch.

    Raises
    ------
    DataError
        If the folder holds no images, a class has none, an image of the table does not exist, or one has no target;
        while iterating, if a file is gone, damaged or too large. It names the file.
    ImportError
        If Pillow is missing.

    Notes
    -----
    Iterating yields (x, y) or, without targets, x: x has shape (n, height, width, channels) and type float32. A last
    batch of a single image joins the one before it. Each iteration is the next epoch, in an order of its own; the same
    seed gives the same orders.

    Images come as a viewer shows them: turned as their EXIF orientation says; on white where they are transparent; with
    the upper 8 of 16 bits; CMYK as RGB, by Pillow's formula and without color profiles; the first of several frames.
    Gray is Pillow's: 0.299 R + 0.587 G + 0.114 B. Pixels of 32 bits, whose range is not known, are refused, and so is
    what has more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``.

    Memory holds `ahead` + 2 batches, with the one that was given out, and the images that are being decoded, which take
    256 MB together (some 25 million pixels), or a larger one alone.

    Examples
    --------
    >>> import numpy as np, os
    >>> from PIL import Image
    >>> for name, value in [("day/a", 250), ("day/b", 240), ("night/a", 10), ("night/b", 20), ("night/c", 30)]:
    ...     os.makedirs(os.path.dirname(f"photos/{name}"), exist_ok=True)
    ...     Image.new("RGB", (40, 30), (value, value, 0)).save(f"photos/{name}.png")
    >>> photos = ImageFolder("photos", size=(16, 16), batch_size=2)
    >>> photos
    ImageFolder('photos', 5 images, 2 classes, size=(16, 16), color='rgb', scaler='unit', batch_size=2)
    >>> photos.classes, len(photos)
    (['day', 'night'], 2)
    >>> for x, y in photos:
    ...     print(x.shape, y.shape)
    (2, 16, 16, 3) (2,)
    (3, 16, 16, 3) (3,)
    >>> train, validation = ImageFolder("photos", scaler="standard").split(0.4, seed=1)
    >>> len(train.paths), validation.targets, validation.scaler_ is train.scaler_
    (3, array([0, 1]), True)
    """

    _fitted: BaseScaler | None
    _fitted_on: ImageFolder | None  # whose statistics these images are scaled by, if not their own

    def __init__(
        self,
        path: str | os.PathLike[str],
        size: int | tuple[int, int] = (64, 64),
        *,
        batch_size: int = 32,
        color: str = "rgb",
        scaler: Any = "unit",
        targets: str | os.PathLike[str] | Mapping[Any, Any] | None = "folders",
        shuffle: bool = True,
        seed: int = 0,
        threads: int | None = None,
        ahead: int = 2,
        target_columns: tuple[str, str] | None = None,
        missing: str = "error",
    ) -> None:
        pillow()
        if color not in MODES:
            raise ValueError(f"color must be 'rgb' or 'gray', got {color!r}")
        if missing not in ("error", "drop"):
            raise ValueError(f"missing must be 'error' or 'drop', got {missing!r}")
        self.path, self.size, self.color = os.fsdecode(path), _checked_size(size), color
        self.batch_size, self.ahead = _positive("batch_size", batch_size), _positive("ahead", ahead)
        self.threads = None if threads is None else _positive("threads", threads)
        self.shuffle, self.seed, self.epoch = bool(shuffle), whole_number("seed", seed), 0
        self.scaler = scaler
        self._fitted, self._fitted_on = self._checked_scaler(scaler), None
        self.classes: list[str] | None = None
        self.targets: np.ndarray | None = None
        if targets is None or (isinstance(targets, str) and targets == "folders"):
            if target_columns is not None or missing != "error":
                raise ValueError("target_columns and missing go with a table of targets")
            if targets is None:
                self.paths = find_images(self.path)
            else:
                self.paths, self.targets, self.classes = by_folder(self.path)
        else:
            found = by_table(self.path, targets, _checked_columns(target_columns), missing)
            self.paths, self.targets, self.classes = found

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return (*self.size, MODES[self.color][1])

    def _checked_scaler(self, scaler: Any) -> BaseScaler | None:
        """The scaler if it is fitted."""
        if not isinstance(scaler, BaseScaler):
            if scaler is not None and not (isinstance(scaler, str) and scaler in ("unit", "signed", *METHODS)):
                names = ", ".join(map(repr, ("unit", "signed", *METHODS)))
                raise ValueError(f"scaler must be a scaler, None, or one of {names}; got {scaler!r}")
            return None
        if not scaler.__sklearn_is_fitted__():
            if scaler._rereads():
                raise ValueError("exact quantiles take several passes, and images are read in one: leave exact out")
            return None
        if scaler.n_features_in_ != self.shape[2]:
            raise DataError(
                f"the scaler was fitted on {scaler.n_features_in_} columns, and images with color={self.color!r} have "
                f"{self.shape[2]} channels"
            )
        return scaler

    @property
    def scaler_(self) -> BaseScaler | None:
        if self._fitted is None and (isinstance(self.scaler, BaseScaler) or self.scaler in METHODS):
            self._fitted = self._fit() if self._fitted_on is None else self._fitted_on.scaler_
        return self._fitted

    def _fit(self) -> BaseScaler:
        """The scaler, fitted on all pixels of these images."""
        scaler = copy.deepcopy(self.scaler) if isinstance(self.scaler, BaseScaler) else new_scaler(str(self.scaler))
        height, width, channels = self.shape
        groups = groups_of(len(self.paths), max(1, FITTED_AT_ONCE // (height * width * channels)))

        def put(place: np.ndarray, pixels: bytes) -> None:
            place.reshape(-1)[:] = np.frombuffer(pixels, np.uint8)

        numbers = np.arange(len(self.paths))
        for images in self._decoded(numbers, groups, self._room(np.uint8), put):
            scaler.partial_fit(images.reshape(-1, channels))
        return scaler

    def _table(self) -> np.ndarray:
        """What becomes of each value in each channel: of shape (channels, 256)."""
        channels = self.shape[2]
        values = np.repeat(np.arange(256.0)[:, None], channels, axis=1)
        scaler = self.scaler_
        if scaler is not None:
            values = scaler.transform(values)
        elif self.scaler == "unit":
            values /= 255.0
        elif self.scaler == "signed":
            values = values / 127.5 - 1.0
        return np.ascontiguousarray(values.T, np.float32)

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        return len(groups_of(len(self.paths), self.batch_size))

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of this epoch."""
        self.epoch = whole_number("epoch", epoch)

    def __iter__(self) -> Iterator[Any]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self._batches(self._order(epoch))

    def _order(self, epoch: int) -> np.ndarray:
        """The numbers of the images in the order of an epoch."""
        if not self.shuffle:
            return np.arange(len(self.paths))
        return np.argsort(words(random_key(self.seed, ORDER, epoch), 0, len(self.paths)), kind="stable")

    def _batches(self, order: np.ndarray) -> Iterator[Any]:
        groups = groups_of(len(order), self.batch_size)
        made = self._scaled(order, groups, self._room(np.float32))
        try:
            for first, stop in groups:
                x = next(made)
                yield x if self.targets is None else (x, self.targets[order[first:stop]])
                del x  # not held while the next one is waited for
        finally:
            made.close()

    def arrays(self) -> tuple[np.ndarray, np.ndarray | None]:
        """All images at once, in the order of `paths`, and their targets.

        Returns
        -------
        (x, y)
            Of shape (n, height, width, channels), float32, and (n,); y is None without targets.
        """
        x = np.empty((len(self.paths), *self.shape), np.float32)
        groups = groups_of(len(x), self.batch_size)
        for _ in self._scaled(np.arange(len(x)), groups, lambda group: x[group[0] : group[1]]):
            pass
        return x, None if self.targets is None else self.targets.copy()

    def split(self, fraction: float, seed: int = 0) -> tuple[Self, Self]:
        """Part the images into those to train on and those to validate with.

        Parameters
        ----------
        fraction : float
            The share of the images for validation. Of each class it is taken apart, rounded, though each with two or
            more images has one at least on either side.
        seed : int, default 0

        Returns
        -------
        (ImageFolder, ImageFolder)
            The first begins anew with epoch 0. The second does not shuffle, and is scaled by what is fitted on the
            first; parts of the second, too.
        """
        if isinstance(fraction, bool) or not isinstance(fraction, float | np.floating) or not 0.0 < fraction < 1.0:
            raise ValueError(f"fraction must be a number between 0 and 1, got {fraction!r}")
        n = len(self.paths)
        drawn = words(random_key(whole_number("seed", seed), SPLIT, 0), 0, n)
        of_class = self.targets if self.classes is not None and self.targets is not None else np.zeros(n, np.int64)
        held = np.zeros(n, bool)
        for number in np.unique(of_class):
            members = np.flatnonzero(of_class == number)
            if len(members) > 1:
                count = min(max(1, round(fraction * len(members))), len(members) - 1)
                held[members[np.argsort(drawn[members], kind="stable")[:count]]] = True
        if not held.any():
            raise DataError(f"{self.path}: no class has two images, so that none can be held out", file=self.path)
        train, validation = self._part(np.flatnonzero(~held)), self._part(np.flatnonzero(held))
        validation.shuffle = False
        if self._fitted_on is None and self._checked_scaler(self.scaler) is None:
            train._fitted, validation._fitted = None, None
            validation._fitted_on = train
        return train, validation

    def _part(self, numbers: np.ndarray) -> Self:
        part = copy.copy(self)
        part.paths, part.epoch = [self.paths[i] for i in numbers], 0
        part.targets = None if self.targets is None else self.targets[numbers]
        return part

    def _room(self, dtype: Any) -> Any:
        """What makes an array for the images of a group."""
        return lambda group: np.empty((group[1] - group[0], *self.shape), dtype)

    def _scaled(self, order: np.ndarray, groups: list[Group], room: Any) -> Generator[np.ndarray, None, None]:
        table = self._table()
        return self._decoded(order, groups, room, lambda place, pixels: map_pixels(place, pixels, table))

    def _decoded(
        self, order: np.ndarray, groups: list[Group], room: Any, put: Any
    ) -> Generator[np.ndarray, None, None]:
        """Arrays of images, each put into its place."""
        gate, size, mode, paths = Gate(ROOM), self.size, MODES[self.color][0], self.paths
        folder = os.path.join(self.path, "")
        steady_allocator()

        def make(place: np.ndarray, i: int) -> None:
            put(place, decode(folder + paths[order[i]], size, mode, gate))

        threads = min(MOST_THREADS, usable_cores()) if self.threads is None else self.threads
        return in_order(groups, room, make, threads=threads, ahead=self.ahead, cancel=gate.close)

    def __repr__(self) -> str:
        n = len(self.paths)
        parts = [repr(self.path), f"{n:,} image{'s' if n != 1 else ''}"]
        if self.classes is not None:
            parts.append(f"{len(self.classes):,} class{'es' if len(self.classes) != 1 else ''}")
        parts += [f"{name}={getattr(self, name)!r}" for name in ("size", "color", "scaler", "batch_size")]
        return f"ImageFolder({', '.join(parts)})"


def _positive(name: str, value: Any) -> int:
    if whole_number(name, value, "a positive integer") < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return int(value)


def _checked_size(size: Any) -> tuple[int, int]:
    pair = size if isinstance(size, tuple | list) else (size, size)
    if len(pair) != 2:
        raise ValueError(f"size must be a positive integer, or height and width, got {size!r}")
    return _positive("size", pair[0]), _positive("size", pair[1])


def _checked_columns(columns: Any) -> tuple[str, str] | None:
    if columns is None:
        return None
    if not isinstance(columns, tuple | list) or len(columns) != 2 or not all(isinstance(c, str) for c in columns):
        raise ValueError(f"target_columns must be two names, of paths and of targets, got {columns!r}")
    return columns[0], columns[1]
