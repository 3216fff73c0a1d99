"""Check what an sdist and a wheel hold: ``python tests/check_dist.py dist``."""

# Design: a script beside the tests and not one of them, because it looks at files that a build of half a minute has
# to make first; ``make build`` and continuous integration run it.

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

WHEEL_MB = 3.0
MODULES = ("_core", "_sketch", "_nn", "_rows", "_unit", "parquet/_pages", "parquet/_thrift")
SHIPPED = re.compile(
    r"streamnorm/.*\.(py|pyi|pxd|so|typed)|streamnorm/report/.*\.(css|js)|streamnorm-[^/]+\.dist-info/.*"
)
HERE_ALONE = re.compile(r"\.git|\.ci/")  # what a repository needs and a release does not


def check_wheel(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
    problems = [f"holds {name}" for name in names if not SHIPPED.fullmatch(name)]
    wanted = ["streamnorm/py.typed", "streamnorm/_core.pxd", "streamnorm/_sketch.pxd", "streamnorm/cli.py"]
    wanted += [f"streamnorm/{module}.pyi" for module in MODULES]
    problems += [f"lacks {name}" for name in wanted if name not in names]
    for module in MODULES:
        if not any(re.fullmatch(rf"streamnorm/{module}\..*so", name) for name in names):
            problems.append(f"lacks the compiled module {module}")
    size = path.stat().st_size / 1e6
    if size > WHEEL_MB:
        problems.append(f"has {size:.1f} MB, more than {WHEEL_MB}")
    return problems


def check_sdist(path: Path) -> list[str]:
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    problems = [f"holds {name}" for name in names if name.endswith((".so", ".pyc")) or name.startswith("build/")]
    for name in tracked_files():
        if name not in names and not HERE_ALONE.match(name):
            problems.append(f"lacks {name}")
    return problems


def tracked_files() -> list[str]:
    """What the repository holds; nothing outside of one."""
    if not Path(".git").exists():
        return []
    listed = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name]


def main(folder: Path) -> int:
    wheels, sdists = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    found = [f"{folder}: lacks a wheel or an sdist"] if not wheels or not sdists else []
    found += [f"{path.name}: {problem}" for path in wheels for problem in check_wheel(path)]
    found += [f"{path.name}: {problem}" for path in sdists for problem in check_sdist(path)]
    good = [f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, as it should be" for path in wheels + sdists]
    print("\n".join(found or good))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
