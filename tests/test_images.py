"""Images from folders: which there are, their targets, their pixels, their scaling, and their order."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.images import SEED, by_hand, make_tree, pattern, save

import streamnorm as sn
from streamnorm._image_order import groups_of
from streamnorm._rows import map_pixels
from streamnorm.reference import batches as twins

SIZE = (12, 16)
SCALER_RTOL = 1e-12  # of a fit against scikit-learn's, which sums in another order


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "images")


def same_arrays(one, other):
    return len(one) == len(other) and all(
        np.array_equal(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)
    )


def all_pixels(folder, mode="RGB"):
    return np.stack([by_hand(os.path.join(folder.path, path), folder.size, mode) for path in folder.paths])


# ------------------------------------------------------------------ which images

def test_classes_are_the_sorted_folders(tree):
    folder = sn.ImageFolder(tree)
    assert folder.classes == ["cats", "dogs", "eels"]
    assert folder.targets.dtype == np.int64 and np.bincount(folder.targets).tolist() == [7, 5, 3]
    assert [path.split("/")[0] for path in folder.paths] == [folder.classes[i] for i in folder.targets]


def test_images_are_found_anywhere_below_a_class_and_nothing_else_is(tree):
    save(tree / "cats" / "young" / "striped" / "a.PNG", np.zeros((4, 4, 3), np.uint8))
    save(tree / ".thumbnails" / "a.png", np.zeros((4, 4, 3), np.uint8))
    save(tree / "dogs" / ".cache" / "a.png", np.zeros((4, 4, 3), np.uint8))
    save(tree / "dogs" / "._001.png", np.zeros((4, 4, 3), np.uint8))
    save(tree / "beside.png", np.zeros((4, 4, 3), np.uint8))
    (tree / "dogs" / "notes.txt").write_text("none")
    (tree / "dogs" / "folder.png").mkdir()
    folder = sn.ImageFolder(tree)
    assert len(folder.paths) == 16 and "cats/young/striped/a.PNG" in folder.paths
    assert folder.classes == ["cats", "dogs", "eels"]


def test_a_class_whose_name_sorts_before_a_slash_stays_in_order(tmp_path):
    make_tree(tmp_path, [("a", 2), ("a-b", 2), ("a b", 2)])
    folder = sn.ImageFolder(tmp_path)
    assert folder.classes == ["a", "a b", "a-b"] and folder.targets.tolist() == [0, 0, 1, 1, 2, 2]


def test_links_are_followed_but_not_in_a_circle(tree, tmp_path):
    save(tmp_path / "elsewhere" / "x.png", np.zeros((4, 4, 3), np.uint8))
    (tree / "eels" / "more").symlink_to(tmp_path / "elsewhere")
    (tree / "eels" / "up").symlink_to(tree)
    folder = sn.ImageFolder(tree)
    assert len(folder.paths) == 16 and "eels/more/x.png" in folder.paths


def test_without_targets_all_images_come_alone(tree):
    save(tree / "beside.png", np.zeros((4, 4, 3), np.uint8))
    folder = sn.ImageFolder(tree, SIZE, targets=None, batch_size=16)
    assert folder.targets is None and folder.classes is None and len(folder.paths) == 16
    [x] = folder
    assert x.shape == (16, *SIZE, 3)
    assert folder.arrays()[1] is None


@pytest.mark.parametrize("make, message", [
    (lambda at: None, "there is no such folder"),
    (lambda at: at.write_text("x"), "is no folder"),
    (lambda at: at.mkdir(), "holds no images"),
    (lambda at: save(at / "a.png", np.zeros((4, 4), np.uint8)), "no folders to be their classes"),
    (lambda at: (save(at / "a" / "a.png", np.zeros((4, 4), np.uint8)), (at / "b").mkdir()), "b: the folder of a class"),
])  # fmt: skip
def test_a_folder_without_classes_of_images_is_an_error(tmp_path, make, message):
    make(tmp_path / "at")
    with pytest.raises(sn.DataError, match=message) as caught:
        sn.ImageFolder(tmp_path / "at")
    assert caught.value.file.startswith(str(tmp_path))


# ------------------------------------------------------------------ targets from a table

def write_table(table, file):
    (pq.write_table if file.suffix == ".parquet" else pa.csv.write_csv)(table, file)
    return file


@pytest.mark.parametrize("kind", ["csv", "parquet", "mapping"])
def test_numbers_of_a_table_are_targets(tree, tmp_path, kind):
    paths = sn.ImageFolder(tree, targets=None).paths
    ages = {path: i / 4 for i, path in enumerate(paths)}
    table = pa.table({"image": list(ages)[::-1], "age": list(ages.values())[::-1]})
    folder = sn.ImageFolder(tree, targets=ages if kind == "mapping" else write_table(table, tmp_path / f"t.{kind}"))
    assert folder.paths == paths and folder.classes is None
    assert folder.targets.dtype == np.float32 and folder.targets.tolist() == list(ages.values())
    x, y = next(iter(folder))
    assert y.dtype == np.float32 and y.shape == (15,)


@pytest.mark.parametrize("kind", ["csv", "parquet", "mapping"])
def test_names_of_a_table_are_classes(tree, tmp_path, kind):
    paths = sn.ImageFolder(tree, targets=None).paths
    names = {f"./{path}": ["wet", "dry", "air"][i % 3] for i, path in enumerate(paths)}
    strings = pa.array(names.values()).dictionary_encode() if kind == "parquet" else pa.array(names.values())
    table = pa.table({"x": range(15), "kind": strings, "file": list(names)})
    if kind == "mapping":
        folder = sn.ImageFolder(tree, targets=names)
    else:
        folder = sn.ImageFolder(
            tree, targets=write_table(table, tmp_path / f"t.{kind}"), target_columns=("file", "kind")
        )
    assert folder.classes == ["air", "dry", "wet"]
    assert folder.targets.tolist() == [[2, 1, 0][i % 3] for i in range(15)]


def test_a_table_may_name_a_file_of_any_extension(tree):
    os.rename(tree / "cats" / "000.png", tree / "cats" / "000")
    paths = ["cats/000", *sn.ImageFolder(tree, targets=None).paths]
    assert sn.ImageFolder(tree, SIZE, targets=dict.fromkeys(paths, 1)).arrays()[0].shape == (15, *SIZE, 3)


@pytest.mark.parametrize("change, message", [
    ({"cats/lost.png": 1.0}, "names cats/lost.png"),
    ({"../a.png": 1.0}, "leads out of the folder"),
    ({"cats/../cats/000.png": 1.0}, "cats/000.png comes twice"),
    ({"cats/001.png": None}, "cats/001.png: has no target in targets: "),
    ({"cats/001.png": np.nan, "dogs/001.png": None}, r"cats/001.png: has no target in targets \(and 1 more\)"),
    ({"cats/001.png": np.inf}, "target of cats/001.png is inf"),
    ({"cats/001.png": "tall"}, "target of cats/001.png is 'tall'"),
    ({3: 1.0}, "named by their paths, got 3"),
])  # fmt: skip
def test_a_wrong_table_is_an_error_that_names_the_image(tree, change, message):
    targets = dict.fromkeys(sn.ImageFolder(tree, targets=None).paths, 1.0)
    with pytest.raises(sn.DataError, match=message):
        sn.ImageFolder(tree, targets=targets | change)


def test_images_without_a_target_are_dropped_on_demand(tree, tmp_path):
    table = pa.table({"path": ["cats/001.png", "dogs/001.png", "eels/001.png"], "n": [1.5, None, 2.5]})
    for file in ("t.csv", "t.parquet"):
        file = write_table(table, tmp_path / file)
        with pytest.raises(sn.DataError, match=r"cats/000.png: has no target in .*12 more"):
            sn.ImageFolder(tree, targets=file)
        folder = sn.ImageFolder(tree, targets=file, missing="drop")
        assert folder.paths == ["cats/001.png", "eels/001.png"] and folder.targets.tolist() == [1.5, 2.5]


def test_a_table_with_more_columns_needs_their_names(tree, tmp_path):
    file = write_table(pa.table({"a": ["x"], "b": [1], "c": [2]}), tmp_path / "t.csv")
    with pytest.raises(sn.DataError, match="target_columns="):
        sn.ImageFolder(tree, targets=file)
    with pytest.raises(sn.DataError, match="no column 'd'"):
        sn.ImageFolder(tree, targets=file, target_columns=("a", "d"))
    for wrong in (tmp_path / "none.csv", tmp_path / "none.parquet"):
        with pytest.raises(sn.DataError, match="cannot be read as a table"):
            sn.ImageFolder(tree, targets=wrong)


# ------------------------------------------------------------------ pixels

@pytest.mark.parametrize("ext", ["png", "jpg", "bmp", "gif", "webp", "tif", "ppm"])
@pytest.mark.parametrize("color, mode", [("rgb", "RGB"), ("gray", "L")])
def test_pixels_are_those_of_a_plain_loop(tmp_path, ext, color, mode):
    tree = make_tree(tmp_path, [("a", 3), ("b", 2)], ext)
    folder = sn.ImageFolder(tree, SIZE, color=color, scaler=None)
    x, y = folder.arrays()
    assert x.dtype == np.float32 and x.flags.c_contiguous
    assert np.array_equal(x, all_pixels(folder, mode)) and y.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ext", ["jpg", "png", "tif", "webp"])
def test_the_orientation_of_exif_is_respected(tmp_path, orientation, ext):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"png": {}, "tif": {}, "jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}[ext]
    marked = np.full((16, 32, 3), 255, np.uint8)
    marked[:8, :8] = 0  # the upper left corner, as it is stored
    save(tmp_path / "x" / f"a.{ext}", marked, exif=exif, **options)
    height, width = (16, 32) if orientation < 5 else (32, 16)
    [[x, _]] = sn.ImageFolder(tmp_path, (height, width))
    dark = np.argwhere(x[0, :, :, 0] < 0.5)
    upper, left = dark[:, 0].max() < height / 2, dark[:, 1].max() < width / 2
    corners = [(True, True), (True, False), (False, False), (False, True)]
    assert (upper, left) == corners[(orientation - 1) % 4]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_passed_over(tmp_path):
    path = save(tmp_path / "x" / "a.jpg", pattern(np.random.default_rng(SEED)), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    [[x, _]] = sn.ImageFolder(tmp_path, SIZE, scaler=None)
    assert np.array_equal(x[0], by_hand(path, SIZE))


def of_mode(mode, rng):
    """An image of a mode, what it is saved as, and its pixels as RGB."""
    rgb = pattern(rng, *SIZE)
    gray = rgb[..., 0]
    if mode == "P":
        image = Image.fromarray(rgb).quantize(16)
        return image, "png", np.asarray(image.convert("RGB"))
    if mode == "1":
        image = Image.fromarray(gray).convert("1")
        return image, "png", np.repeat(np.asarray(image, np.uint8)[..., None] * 255, 3, axis=2)
    if mode in ("L", "I;16"):
        pixels = gray if mode == "L" else gray.astype(np.uint16) << 8 | rng.integers(0, 256, SIZE, np.uint16)
        return Image.fromarray(pixels), "png", np.repeat(gray[..., None], 3, axis=2)
    if mode == "CMYK":
        ink = 255 - rgb  # no black ink
        return Image.fromarray(np.dstack([ink, np.zeros_like(gray)]), "CMYK"), "tif", rgb
    raise KeyError(mode)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("mode", ["P", "1", "L", "I;16", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    image, ext, wanted = of_mode(mode, np.random.default_rng(SEED))
    (tmp_path / "x").mkdir()
    image.save(tmp_path / "x" / f"a.{ext}")
    with Image.open(tmp_path / "x" / f"a.{ext}") as stored:
        assert stored.mode in (mode, "I" if mode == "I;16" else mode)  # Pillow 10 has no I;16 in a PNG
    [[x, _]] = sn.ImageFolder(tmp_path, SIZE, scaler=None)
    assert np.array_equal(x[0], wanted)


def test_16_bits_of_pgm_and_tiff_become_their_upper_8(tmp_path):
    values = np.arange(0, 65536, 257 * 2, dtype=np.uint16)[:120].reshape(10, 12)
    for name in ("a.tif", "b.png"):
        save(tmp_path / "x" / name, values)
    (tmp_path / "x" / "c.pgm").write_bytes(b"P5\n12 10\n65535\n" + values.astype(">u2").tobytes())
    [[x, _]] = sn.ImageFolder(tmp_path, (10, 12), scaler=None, color="gray")
    assert all(np.array_equal(x[i, ..., 0], values >> 8) for i in range(3))


def test_what_is_transparent_is_white(tmp_path):
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:4, :, 3] = 255  # black above, and black that cannot be seen below
    rgba[0, 0] = (200, 100, 0, 51)  # a fifth of this on white
    save(tmp_path / "x" / "a.png", rgba)
    palette = Image.fromarray(np.repeat([[0], [1]], 8, axis=1).repeat(4, axis=0).astype(np.uint8), "P")
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(tmp_path / "x" / "b.png", transparency=1)
    la = np.zeros((8, 8, 2), np.uint8)
    la[:4, :, 1] = 255
    save(tmp_path / "x" / "c.png", la)
    Image.fromarray(np.repeat([[0], [9]], 8, axis=1).repeat(4, axis=0).astype(np.uint8)).save(
        tmp_path / "x" / "d.png", transparency=9
    )
    [[x, _]] = sn.ImageFolder(tmp_path, 8, scaler=None, shuffle=False)
    assert x[0, 0, 0].tolist() == [244, 224, 204]
    assert (x[:, 1:4] == 0).all() and (x[:, 4:] == 255).all()


def test_the_first_of_several_frames_counts(tmp_path):
    frames = [Image.new("L", (8, 8), value) for value in (40, 200)]
    (tmp_path / "x").mkdir()
    for name in ("a.gif", "b.tif", "c.webp"):
        options = {"lossless": True} if name == "c.webp" else {}
        frames[0].save(tmp_path / "x" / name, save_all=True, append_images=frames[1:], **options)
    [[x, _]] = sn.ImageFolder(tmp_path, 8, scaler=None)
    assert (x == 40).all()


def test_a_file_is_known_by_its_content_not_by_its_name(tmp_path):
    pixels = pattern(np.random.default_rng(SEED))
    save(tmp_path / "x" / "a.png", pixels)
    os.rename(tmp_path / "x" / "a.png", tmp_path / "x" / "a.jpg")
    assert np.array_equal(sn.ImageFolder(tmp_path, (24, 20), scaler=None).arrays()[0][0], pixels)


# ------------------------------------------------------------------ scaling

def test_unit_and_signed_are_exact(tree):
    folder = sn.ImageFolder(tree, SIZE)
    raw = all_pixels(folder).astype(np.float64)
    assert np.array_equal(folder.arrays()[0], (raw / 255).astype(np.float32))
    signed = sn.ImageFolder(tree, SIZE, scaler="signed")
    assert np.array_equal(signed.arrays()[0], (raw / 127.5 - 1).astype(np.float32))
    assert folder.scaler_ is None and signed.scaler_ is None


@pytest.mark.parametrize("color, mode", [("rgb", "RGB"), ("gray", "L")])
@pytest.mark.parametrize("method", ["standard", "minmax", "robust", "maxabs"])
def test_statistics_are_those_of_all_pixels(tree, color, mode, method):
    folder = sn.ImageFolder(tree, SIZE, color=color, scaler=method, batch_size=4)
    raw = all_pixels(folder, mode)
    rows = raw.reshape(-1, raw.shape[-1])
    fitted = sn.fit(rows, method)
    assert folder.scaler_.digest() == fitted.digest()
    wanted = fitted.transform(rows.astype(np.float64)).astype(np.float32).reshape(raw.shape)
    assert np.array_equal(folder.arrays()[0], wanted)


def test_standard_agrees_with_scikit_learn(tree):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    folder = sn.ImageFolder(tree, SIZE, scaler="standard")
    rows = all_pixels(folder).reshape(-1, 3)
    theirs = preprocessing.StandardScaler().fit(rows)
    np.testing.assert_allclose(folder.scaler_.mean_, theirs.mean_, rtol=SCALER_RTOL)
    np.testing.assert_allclose(folder.scaler_.scale_, theirs.scale_, rtol=SCALER_RTOL)


def test_scalers_are_taken_fitted_or_not(tree):
    own = sn.StandardScaler(ddof=1)
    folder = sn.ImageFolder(tree, SIZE, scaler=own)
    assert folder.scaler_.ddof == 1 and not own.__sklearn_is_fitted__()
    given = sn.StandardScaler.from_statistics([123.7, 116.3, 103.5], [58.4, 57.1, 57.4])
    folder = sn.ImageFolder(tree, SIZE, scaler=given)
    assert folder.scaler_ is given
    raw = all_pixels(folder).astype(np.float64)
    assert np.array_equal(folder.arrays()[0], given.transform(raw.reshape(-1, 3)).astype(np.float32).reshape(raw.shape))
    mixed = sn.ImageFolder(tree, SIZE, scaler=sn.ColumnScaler({0: "standard", (1, 2): "minmax"}))
    x = mixed.arrays()[0]
    assert abs(x[..., 0].mean()) < 1e-5 and x[..., 1:].min() == 0 and x[..., 1:].max() == 1


@pytest.mark.parametrize("options, error, message", [
    ({"scaler": "zscore"}, ValueError, "scaler must be"),
    ({"scaler": np.ones(3)}, ValueError, "scaler must be"),
    ({"scaler": sn.RobustScaler(exact=True)}, ValueError, "several passes"),
    ({"scaler": sn.StandardScaler().fit([[1.0], [2.0]])}, sn.DataError, "fitted on 1 columns"),
    ({"size": 0}, ValueError, "size must be"),
    ({"size": (8, 8, 3)}, ValueError, "size must be"),
    ({"size": 8.0}, ValueError, "size must be"),
    ({"batch_size": 0}, ValueError, "batch_size must be"),
    ({"threads": 0}, ValueError, "threads must be"),
    ({"ahead": 0}, ValueError, "ahead must be"),
    ({"seed": 1.5}, ValueError, "seed must be"),
    ({"color": "RGB"}, ValueError, "color must be"),
    ({"missing": "skip"}, ValueError, "missing must be"),
    ({"missing": "drop"}, ValueError, "go with a table"),
    ({"targets": [1, 2]}, TypeError, "targets must be"),
    ({"targets": {"a": 1}, "target_columns": ("a", "b")}, ValueError, "a mapping has none"),
    ({"targets": "t.csv", "target_columns": "ab"}, ValueError, "two names"),
])  # fmt: skip
def test_arguments_out_of_their_domain_are_refused(tree, options, error, message):
    with pytest.raises(error, match=message):
        sn.ImageFolder(tree, **options)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("n", [0, 1, 7, 1009])
def test_the_kernel_agrees_with_its_twin(channels, n):
    rng = np.random.default_rng(SEED)
    table = rng.normal(size=(channels, 256)).astype(np.float32)
    pixels = rng.integers(0, 256, (n, channels), np.uint8)
    out, wanted = np.empty((2, n, channels), np.float32)
    map_pixels(out, pixels.tobytes(), table)
    twins.map_pixels(wanted, pixels, table)
    assert np.array_equal(out, wanted)


def test_the_kernel_checks_its_arguments():
    table = np.zeros((3, 256), np.float32)
    for out, pixels, values in [
        (np.empty((2, 3), np.float32), bytes(5), table),
        (np.empty((3, 2), np.float32), bytes(6), table),
        (np.empty((2, 3), np.float32), bytes(6), table[:, :255].copy()),
        (np.empty((2, 3), np.float64), bytes(6), table),
        (np.empty((3, 2), np.float32).T, bytes(6), table),
    ]:
        with pytest.raises(ValueError):
            map_pixels(out, pixels, values)


# ------------------------------------------------------------------ batches and their order

@pytest.mark.parametrize("n, size, lengths", [
    (10, 3, [3, 3, 4]), (10, 4, [4, 4, 2]), (9, 3, [3, 3, 3]), (1, 8, [1]), (3, 1, [1, 1, 1]), (5, 4, [5]), (0, 4, []),
])  # fmt: skip
def test_a_single_image_that_is_left_joins_the_batch_before(n, size, lengths):
    assert [stop - first for first, stop in groups_of(n, size)] == lengths


def test_batches_are_the_images_in_the_order_of_the_epoch(tree):
    folder = sn.ImageFolder(tree, SIZE, batch_size=7, seed=3)
    x, y = folder.arrays()
    batches = list(folder)
    assert len(folder) == len(batches) == 2 and [len(b) for b, _ in batches] == [7, 8]
    assert batches[0][0].dtype == np.float32 and batches[0][1].dtype == np.int64
    mixed, labels = np.concatenate([b for b, _ in batches]), np.concatenate([b for _, b in batches])
    place = {image.tobytes(): i for i, image in enumerate(x)}
    order = [place[image.tobytes()] for image in mixed]
    assert sorted(order) == list(range(15)) and order != sorted(order)
    assert np.array_equal(labels, y[order])


def test_epochs_differ_and_a_seed_repeats_them(tree):
    one, other = (sn.ImageFolder(tree, SIZE, batch_size=4, seed=5) for _ in range(2))
    first, second = list(one), list(one)
    assert not same_arrays(first, second)
    assert same_arrays(first, list(other)) and same_arrays(second, list(other))
    one.set_epoch(0)
    assert same_arrays(first, list(one)) and one.epoch == 1
    assert not same_arrays(first, list(sn.ImageFolder(tree, SIZE, batch_size=4, seed=6)))


def test_without_shuffle_the_order_is_that_of_paths(tree):
    folder = sn.ImageFolder(tree, SIZE, batch_size=4, shuffle=False)
    for _ in range(2):
        assert np.array_equal(np.concatenate([x for x, _ in folder]), folder.arrays()[0])


@pytest.mark.parametrize("threads", [1, 2, 5, 40])
@pytest.mark.parametrize("ahead", [1, 3])
def test_threads_change_nothing(tree, threads, ahead):
    options = {"batch_size": 2, "scaler": "standard"}
    wanted = list(sn.ImageFolder(tree, SIZE, threads=1, **options))
    assert same_arrays(wanted, list(sn.ImageFolder(tree, SIZE, threads=threads, ahead=ahead, **options)))


def test_several_iterators_at_once(tree):
    folder = sn.ImageFolder(tree, SIZE, batch_size=2, threads=2)
    epochs = [list(folder), list(folder)]
    folder.set_epoch(0)
    together = list(zip(folder, folder, strict=True))
    assert same_arrays(epochs[0], [pair[0] for pair in together])
    assert same_arrays(epochs[1], [pair[1] for pair in together])


def test_a_batch_is_the_callers(tree):
    folder = sn.ImageFolder(tree, SIZE, batch_size=5, shuffle=False, threads=2)
    wanted = folder.arrays()[0]
    kept = []
    for x, y in folder:
        kept.append(x.copy())
        x[:] = np.nan
        y[:] = -1
    assert np.array_equal(np.concatenate(kept), wanted) and folder.targets.min() == 0


def test_a_copy_and_a_pickle_go_on_alike(tree):
    folder = sn.ImageFolder(tree, SIZE, batch_size=4, scaler="standard")
    train, validation = folder.split(0.3)
    list(train)
    for made in (pickle.loads(pickle.dumps((train, validation))), copy.deepcopy((train, validation))):
        assert made[0].epoch == 1 and same_arrays(list(made[1]), list(validation))
        train.set_epoch(1)
        assert same_arrays(list(made[0]), list(train))


def test_repr(tree):
    text = repr(sn.ImageFolder(tree, SIZE, scaler="standard"))
    wanted = "15 images, 3 classes, size=(12, 16), color='rgb', scaler='standard', batch_size=32"
    assert text == f"ImageFolder({str(tree)!r}, {wanted})"
    assert "1 image," in repr(sn.ImageFolder(tree, targets={"cats/000.png": 1}, missing="drop"))


# ------------------------------------------------------------------ splits

@pytest.mark.parametrize("fraction, held", [(0.2, [1, 1, 1]), (0.4, [3, 2, 1]), (0.9, [6, 4, 2])])
def test_a_split_is_stratified(tree, fraction, held):
    folder = sn.ImageFolder(tree, SIZE)
    train, validation = folder.split(fraction, seed=4)
    assert np.bincount(validation.targets).tolist() == held
    assert sorted(train.paths + validation.paths) == sorted(folder.paths)
    assert [folder.classes[i] for i in train.targets] == [path.split("/")[0] for path in train.paths]
    assert train.shuffle and not validation.shuffle and len(folder.paths) == 15
    again, other = folder.split(fraction, seed=4)[1], folder.split(fraction, seed=5)[1]
    assert validation.paths == again.paths != other.paths


def test_statistics_come_from_the_training_images_alone(tree):
    folder = sn.ImageFolder(tree, SIZE, scaler="standard")
    whole = folder.scaler_
    train, validation = folder.split(0.4)
    fitted = sn.StandardScaler().fit(all_pixels(train).reshape(-1, 3))
    assert validation.scaler_ is train.scaler_ and train.scaler_.digest() == fitted.digest() != whole.digest()
    raw = all_pixels(validation)
    wanted = fitted.transform(raw.reshape(-1, 3).astype(np.float64)).astype(np.float32).reshape(raw.shape)
    assert np.array_equal(validation.arrays()[0], wanted)
    for part in validation.split(0.5):
        assert part.scaler_ is train.scaler_
    inner, held = train.split(0.5)
    assert inner.scaler_ is held.scaler_ is not train.scaler_
    assert inner.scaler_.digest() == sn.StandardScaler().fit(all_pixels(inner).reshape(-1, 3)).digest()


def test_regression_is_split_at_random_and_a_class_of_one_stays(tree):
    targets = {path: float(i) for i, path in enumerate(sn.ImageFolder(tree, targets=None).paths)}
    train, validation = sn.ImageFolder(tree, targets=targets).split(0.2)
    assert len(validation.paths) == 3 and [targets[path] for path in validation.paths] == validation.targets.tolist()
    few = {"cats/000.png": "one", "dogs/000.png": "two", "dogs/001.png": "two"}
    train, validation = sn.ImageFolder(tree, targets=few, missing="drop").split(0.5)
    assert "cats/000.png" in train.paths and len(validation.paths) == 1
    with pytest.raises(sn.DataError, match="none can be held out"):
        train.split(0.5)
    for fraction in (0, 1, 0.0, 1.0, True, "0.2"):
        with pytest.raises(ValueError, match="fraction must be"):
            train.split(fraction)


# ------------------------------------------------------------------ Pillow when it is needed

def test_pillow_is_imported_when_it_is_needed_and_its_lack_is_told(tree):
    code = (
        "import sys, streamnorm as sn; sn.ImageFolder; assert 'PIL' not in sys.modules\n"
        "sys.modules['PIL'] = None\n"
        f"try: sn.ImageFolder({str(tree)!r})\n"
        "except ImportError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install streamnorm[images]" in run.stdout
