"""What README and docs/ show is true: examples run, commands and options exist, links lead somewhere."""

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
INLINE = re.compile(r"`(streamnorm|make) ([^`]+)`")
MAKE_TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def shell_lines(page: Path) -> list[str]:
    return [line[2:] for text in blocks(page, "console") for line in text.splitlines() if line.startswith("$ ")]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder to write to that has the examples where a checkout has them."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_examples(page: Path, language: str) -> None:
    text = "\n".join(blocks(page, language))
    examples = doctest.DocTestParser().get_doctest(text, {}, name_of(page), str(page), 0)
    assert examples.examples
    said: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples, out=said.append)
    assert not failed, "".join(said)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_examples_run(page, checkout):
    run_examples(page, "python")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "pycon")], ids=name_of)
def test_examples_with_pytorch_run(page, checkout):
    pytest.importorskip("torch")
    run_examples(page, "pycon")


@pytest.mark.parametrize("page", [page for page in PAGES if shell_lines(page)], ids=name_of)
def test_commands_run_in_their_order(page, checkout):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))}
    for line in shell_lines(page):
        program, *arguments = shlex.split(line)
        if "|" in arguments:
            streamnorm = shlex.join([sys.executable, "-m", "streamnorm"])
            script = f'set -o pipefail; streamnorm() {{ {streamnorm} "$@"; }}; {line}'
            run = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True)
            assert run.returncode == 0, f"{line}\n{run.stdout}{run.stderr}"
        elif program == "streamnorm":
            command = [sys.executable, "-m", "streamnorm", *arguments]
            run = subprocess.run(command, env=env, capture_output=True, text=True)
            assert run.returncode == 0, f"{line}\n{run.stdout}{run.stderr}"
        elif program == "make":
            assert arguments[0] in make_targets(), line
        else:
            assert line in ("pip install .", "export ARROW_DEFAULT_MEMORY_POOL=system"), f"what does {line} do here?"


def make_targets() -> set[str]:
    return set(MAKE_TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_the_text_exist(page):
    from streamnorm.cli import cli

    for program, rest in INLINE.findall(page.read_text(encoding="utf-8")):
        name = rest.split()[0]
        if program == "make":
            assert name in make_targets(), f"make {rest}"
            continue
        assert name in cli.commands, f"streamnorm {rest}"
        options = {option for parameter in cli.commands[name].params for option in parameter.opts}
        unknown = {word for word in rest.split() if word.startswith("-")} - options - {"--help"}
        assert not unknown, f"streamnorm {rest}"


def test_every_command_is_in_the_guide():
    from streamnorm.cli import cli

    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    for name in cli.commands:
        assert f"`streamnorm {name} " in guide, f"the guide does not show the command {name}"


def test_every_target_is_in_the_help_of_make():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in make_targets():
        assert re.search(rf"^{name}:.*## ", makefile, re.MULTILINE), f"make help does not list {name}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_within_the_repository_lead_somewhere(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if not link.startswith(("https://", "http://")):
            target, _, heading = link.partition("#")
            assert (page.parent / target).exists(), f"{link} leads nowhere"
            assert not heading, f"{link}: headings are not checked, link to the page"


def test_the_changelog_speaks_of_this_version():
    from streamnorm import __version__

    assert __version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
