"""Images from folders where things go wrong: bad files, iterators left early, forks, and memory."""

import gc
import multiprocessing
import os
import struct
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from support import children
from support.images import SEED, make_tree, pattern, save

import streamnorm as sn
from streamnorm._image_decoding import OTHER_BYTES, PLAIN_BYTES, Gate
from streamnorm.pipeline import Cancelled

SIZE = (12, 16)
CODE_BYTES = 12 * 10**6  # what the allocators of NumPy, Pillow and its libraries keep beside the images
WAIT = 20.0  # seconds; what takes longer hangs


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "images", [("cats", 20), ("dogs", 20)])


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "streamnorm-images"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    assert not workers()


def png_of(width, height):
    """A PNG's head, which says that it is so large, and no more than the beginning of its pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def half(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def mangled(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20] = bytes(20)
    path.write_bytes(data)


def circular(path):
    path.unlink()
    path.symlink_to(path)


def piped(path):
    path.unlink()
    os.mkfifo(path)


BAD = {
    "gone": (lambda path: path.unlink(), "is gone since the folder was listed: put it back"),
    "empty": (lambda path: path.write_bytes(b""), "is empty: replace"),
    "truncated": (half, "is damaged .*: replace the file or remove it"),
    "mangled": (mangled, "is damaged .*: replace the file or remove it"),
    "text": (lambda path: path.write_text("<html>404</html>"), "not an image of a known format: replace"),
    "unreadable": (circular, "cannot be read: Too many levels of symbolic links"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read: Is a directory"),
    "pipe": (piped, "is empty: replace"),
    "bomb": (lambda path: path.write_bytes(png_of(50_000, 50_000)), "larger than PIL.Image.MAX_IMAGE_PIXELS"),
    "half_a_bomb": (lambda path: path.write_bytes(png_of(10_000, 10_000)), "larger than PIL.Image.MAX_IMAGE_PIXELS"),
    "floats": (
        lambda path: Image.fromarray(np.zeros((9, 9), np.float32)).save(path, "TIFF"), "has pixels of 32 bits, whose"
    ),
    "program": (lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "known format"),
    "jpeg": (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF"), "is damaged|not an image"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("kind", list(BAD))
def test_a_bad_file_is_one_error_that_names_it(tree, kind, threads):
    spoil, message = BAD[kind]
    folder = sn.ImageFolder(tree, SIZE, batch_size=4, shuffle=False, threads=threads)
    fitting = sn.ImageFolder(tree, SIZE, scaler="standard", threads=threads)
    bad = tree / "cats" / "010.png"
    spoil(bad)
    spoil(tree / "cats" / "011.png")  # later, and never spoken of
    seen = 0
    with pytest.raises(sn.DataError, match=message) as caught:
        for x, _ in folder:
            seen += len(x)
    assert seen == 8  # the batches before it
    assert caught.value.file == str(bad) and str(caught.value).startswith(str(bad))
    assert not workers()
    with pytest.raises(sn.DataError, match=message):
        next(iter(fitting))
    with pytest.raises(sn.DataError, match=message):
        folder.arrays()


def test_a_warning_of_a_large_image_that_is_an_error_is_told_like_one(tree):
    (tree / "cats" / "010.png").write_bytes(png_of(10_000, 10_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(sn.DataError, match="larger than PIL.Image.MAX_IMAGE_PIXELS"):
            list(sn.ImageFolder(tree, SIZE))


def test_a_link_to_nowhere_is_told_not_left_out(tree):
    (tree / "dogs" / "x.png").symlink_to(tree / "none.png")
    folder = sn.ImageFolder(tree, SIZE)
    assert len(folder.paths) == 41
    with pytest.raises(sn.DataError, match="dogs/x.png: is gone"):
        list(folder)


def test_no_memory_is_told_as_that(tree, monkeypatch):
    folder = sn.ImageFolder(tree, SIZE, threads=3)

    def no_room(dtype):
        def room(group):
            raise MemoryError("no room")

        return room

    monkeypatch.setattr(folder, "_room", no_room)
    with pytest.raises(MemoryError, match="no room"):
        list(folder)


# ------------------------------------------------------------------ threads

@pytest.mark.parametrize("ahead", [1, 4])
def test_closing_an_iterator_early_ends_its_threads(tree, ahead):
    folder = sn.ImageFolder(tree, SIZE, batch_size=2, threads=3, ahead=ahead)
    iterator = iter(folder)
    assert not workers()
    next(iterator)
    assert len(workers()) == 3
    iterator.close()
    assert not workers()
    for _ in folder:
        break
    gc.collect()
    assert not workers()


def test_no_more_than_ahead_is_decoded_before_it_is_asked_for(tree, monkeypatch):
    from streamnorm import images

    begun, decode, idle = [], images.decode, threading.Event()

    def counted(file, *rest):
        begun.append(file)
        return decode(file, *rest)

    monkeypatch.setattr(images, "decode", counted)
    iterator = iter(sn.ImageFolder(tree, SIZE, batch_size=4, threads=3, ahead=2))
    next(iterator)
    idle.wait(0.3)  # time enough for all forty
    assert len(begun) == 4 * (1 + 1 + 2)
    iterator.close()


def test_a_cycle_that_holds_an_iterator_is_collected(tree):
    iterator = iter(sn.ImageFolder(tree, SIZE, batch_size=2, threads=2))
    next(iterator)
    circle = [iterator]
    circle.append(circle)
    del circle, iterator
    gc.collect()
    assert not workers()


def batches_of(folder, queue):
    queue.put([x.sum(dtype=np.float64) for x, _ in folder])


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_iterates_by_itself(tree):
    folder = sn.ImageFolder(tree, SIZE, batch_size=4, threads=3, scaler="standard")
    wanted = [x.sum(dtype=np.float64) for x, _ in folder]
    running = iter(folder)
    next(running)
    folder.set_epoch(0)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=batches_of, args=(folder, queue))
    child.start()
    try:
        assert queue.get(timeout=WAIT) == wanted
        child.join(WAIT)
        assert child.exitcode == 0
    finally:
        child.kill()
    assert len(list(running)) == 9


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_cannot_go_on_with_its_parents_batches(tree):
    running = iter(sn.ImageFolder(tree, SIZE, batch_size=4, threads=3))
    next(running)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            next(running)
        except sn.StreamnormError as error:
            status = 0 if "another process" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(list(running)) == 9


def test_the_interpreter_ends_with_an_iterator_left_open(tree):
    code = (
        "import sys, streamnorm as sn\n"
        "iterator = iter(sn.ImageFolder(sys.argv[1], 8, batch_size=2, threads=3)); next(iterator); print('done')"
    )
    result = children.run(code, tree)
    assert result.status == 0 and result.out == "done\n" and result.err == ""


# ------------------------------------------------------------------ memory

def test_the_gate_lets_in_what_fits_and_large_work_alone():
    gate, inside, most = Gate(100), [], []
    lock = threading.Lock()

    def work(need):
        with gate.inside(need):
            with lock:
                inside.append(need)
                most.append(list(inside))
            threading.Event().wait(0.002)
            with lock:
                inside.remove(need)

    needs = [40, 30, 500, 60, 10, 90, 300, 20, 20, 20] * 3
    threads = [threading.Thread(target=work, args=(need,)) for need in needs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert len(most) == len(needs)
    assert all(sum(needs) <= 100 or len(needs) == 1 for needs in most)
    assert max(map(len, most)) > 1


def test_nothing_small_overtakes_large_work_that_waits():
    gate, order = Gate(100), []

    def work(need):
        with gate.inside(need):
            order.append(need)

    with gate.inside(50):
        threads = [threading.Thread(target=work, args=(need,)) for need in (500, 10, 10)]
        for thread in threads:
            thread.start()
            threading.Event().wait(0.05)  # so that they come in this order
        assert order == []
    for thread in threads:
        thread.join(WAIT)
    assert order == [500, 10, 10]


def test_a_closed_gate_lets_nothing_in():
    gate = Gate(100)
    outcome = []

    def work():
        try:
            with gate.inside(1):
                outcome.append("in")
        except Cancelled:
            outcome.append("cancelled")

    with gate.inside(500):
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        gate.close()
        for thread in threads:
            thread.join(WAIT)
    assert outcome == ["cancelled"] * 3


PEAK = """
import resource, sys
import streamnorm as sn
from streamnorm import images
small, folder, size, images.ROOM = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
for _ in sn.ImageFolder(small, 8, scaler="standard", threads=4):  # what is imported when it is first needed
    pass
start = peak()
folder = sn.ImageFolder(folder, size, batch_size=8, scaler="standard", threads=4)
seen = sum(len(x) for _ in range(2) for x, _ in folder)
print(seen, peak() - start)
"""


def grown(small, folder, size, room):
    """How many images were seen, and by how many bytes the peak of the memory grew for them."""
    result = children.measure(PEAK, small, folder, size, room)
    assert result.status == 0, result.err
    return tuple(map(int, result.out.split()))


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_memory_does_not_grow_with_the_number_of_images(tree, tmp_path):
    few, many = tmp_path / "few", tmp_path / "many"
    source = save(tmp_path / "a.png", pattern(np.random.default_rng(SEED)))
    for folder, count in [(few, 60), (many, 1200)]:
        for name in "ab":
            (folder / name).mkdir(parents=True)
            for i in range(count // 2):
                os.link(source, folder / name / f"{i}.png")
    (images, least), (more, most) = grown(tree, few, 96, 10**8), grown(tree, many, 96, 10**8)
    assert (images, more) == (120, 2400)
    values = 1200 * 96 * 96 * 3
    assert most <= least + values / 4, f"{least / 1e6:.1f} and {most / 1e6:.1f} MB"  # all of them take 33 MB in bytes


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
@pytest.mark.parametrize("mode, ext", [("RGB", "png"), ("RGB", "jpg"), ("RGBA", "png"), ("P", "png")])
def test_large_images_are_decoded_within_their_bound(tree, tmp_path, mode, ext):
    side, room = 2000, 50 * 10**6
    image = Image.linear_gradient("L").resize((side, side)).convert("RGB")
    if mode == "P":
        image = image.quantize(8)
    elif mode == "RGBA":
        image.putalpha(200)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"progressive": True, "subsampling": 0} if ext == "jpg" else {"compress_level": 1}
    (tmp_path / "large" / "a").mkdir(parents=True)
    image.save(tmp_path / "large" / "a" / f"0.{ext}", exif=exif, **options)
    for i in range(1, 5):
        os.link(tmp_path / "large" / "a" / f"0.{ext}", tmp_path / "large" / "a" / f"{i}.{ext}")
    seen, most = grown(tree, tmp_path / "large", 32, room)
    assert seen == 10
    need = side**2 * (PLAIN_BYTES if mode == "RGB" else OTHER_BYTES)
    assert most <= max(room, need) + CODE_BYTES, f"{most / 1e6:.0f} MB"
