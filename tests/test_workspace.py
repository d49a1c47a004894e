"""WORKSPACE.md is a true map: what it names exists, and no file of the package is left out."""

import re
from itertools import takewhile

MAX_LINES = 150
PATH = re.compile(r"`([\w.\-]+(?:/[\w.\-*]+)*/?)`")
TOP = {"dvmap_jax", "configs", "scripts", "tests", ".ci"}


def named_paths(text):
    """Paths in backquotes: those below a top folder, and files with a known ending."""
    found = {match.rstrip("/") for match in PATH.findall(text)}
    endings = (".py", ".md", ".toml")
    return {
        name
        for name in found
        if name.split("/")[0] in TOP
        and "*" not in name
        or "/" not in name
        and name.endswith(endings)
    }


def tree_files(text):
    """Files the tree of rooms lists: a folder at the margin, below it one or more files a line."""
    files, folder = set(), ""
    for line in text.split("```text")[1].split("```")[0].splitlines():
        words = line.split()
        if words and words[0].endswith("/") and not line.startswith(" "):
            folder = words[0]
        else:
            names = (word.rstrip(",") for word in words)
            files |= {folder + name for name in takewhile(lambda n: n.endswith(".py"), names)}
    return files


def test_named_paths_exist(root):
    text = (root / "WORKSPACE.md").read_text(encoding="utf-8")
    missing = {name for name in named_paths(text) | tree_files(text) if not (root / name).exists()}
    assert missing == set()


def test_every_file_of_the_package_is_named(root):
    text = (root / "WORKSPACE.md").read_text(encoding="utf-8")
    ours = {path.relative_to(root).as_posix() for path in (root / "dvmap_jax").rglob("*.py")}
    ours |= {path.relative_to(root).as_posix() for path in (root / "scripts").glob("*.py")}
    unnamed = {name for name in ours if not name.endswith("__init__.py")} - tree_files(text)
    assert unnamed == set()


def test_map_stays_short(root):
    assert len((root / "WORKSPACE.md").read_text(encoding="utf-8").splitlines()) <= MAX_LINES
