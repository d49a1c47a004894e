"""docs/pods.md: what it names of this repository exists."""

import re
import shlex

import pytest

from dvmap_jax.run_flags import check_overrides

DEFINED = re.compile(r"DEFINE\w*\((?:\w+\([^()]*\),)?\s*\"([\w-]+)\"")
PARSED = re.compile(r'^parse "(.*)" "(.*)" "\$@"$', re.MULTILINE)
# Documented here, made elsewhere; checked as all others once the files that define them are there.


@pytest.fixture(scope="module")
def text(root):
    return (root / "docs" / "pods.md").read_text(encoding="utf-8")


def commands(text):
    """Commands of the fenced blocks, as words; an indented line belongs to the one above."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for block in blocks:
        for line in re.sub(r"\\?\n +", " ", block).splitlines():
            if line and not line.startswith("FLAGS="):
                yield shlex.split(line, comments=True)


def script_calls(text):
    """Script and the names of the flags it is given; after `--` they are those of train.py."""
    for words in commands(text):
        script = ""
        for word in words:
            if word.startswith("scripts/"):
                script = word
            elif word == "--":
                script = "scripts/train.py"
            elif script and word.startswith("--"):
                yield script, word[2:].split("=")[0]


def flags_of(root, script):
    """The flags a script defines, by itself or in a module for scripts."""
    file = root / script
    if file.suffix != ".py":
        options = PARSED.search(file.read_text(encoding="utf-8")).groups()
        return {"config", "workdir", "dry-run", "help", *" ".join(options).split()}
    texts = [file, *(root / "dvmap_jax").glob("*.py")]
    return {name for each in texts for name in DEFINED.findall(each.read_text(encoding="utf-8"))}


def test_named_files_exist(text, root):
    named = set(re.findall(r"\b((?:scripts|tests|docs|configs)/[\w./-]+\w)", text))
    assert len(named) > 8
    missing = {name for name in named if not (root / name).exists()}
    assert missing - {"configs/NAME.py"} == set()


def test_flags_of_commands_are_defined(text, root):
    calls = set(script_calls(text))
    assert {script for script, _ in calls} >= {
        *("scripts/train.py", "scripts/evaluate.py", "scripts/convert.py", "scripts/compile.py"),
        *("scripts/launch/tpu_vm.sh", "scripts/launch/slurm.sbatch", "scripts/launch/jobset.sh"),
    }
    overrides = [(script, flag) for script, flag in calls if flag.startswith("config.")]
    plain = calls - set(overrides)
    assert {call for call in plain if call[1] not in flags_of(root, call[0])} == set()


def test_flags_in_sentences_are_defined(text, root):
    """Wherever a flag stands in backquotes, a script of ours or Slurm's own options have it."""
    known = {"ntasks-per-node", "gpus-per-node", "force"}
    for script in [*root.glob("scripts/*.py"), *root.glob("scripts/launch/*.s[hb]*")]:
        if script.name != "arguments.sh":
            known |= flags_of(root, script.relative_to(root).as_posix())
    quoted = " ".join(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
    named = set(re.findall(r"(?<![\w-])--([a-z_-]+)\b(?!\.)", quoted))
    assert len(named) > 10
    assert named - known == set()


def test_overrides_are_keys_of_a_run(text):
    found = set(re.findall(r"--config\.[\w.]*\w(?:=[^\s`)]+)?", text)) - {"--config.a.b=value"}
    assert len(found) > 5
    check_overrides(sorted(flag for flag in found if not flag.startswith("--config.a.b")))


def test_table_of_what_fits_has_its_place(text):
    section = text.split("## What fits\n", 1)[1].split("\n## ", 1)[0]
    begin, end = section.index("<!-- fits:begin -->"), section.index("<!-- fits:end -->")
    assert begin < end
    assert text.count("<!-- fits:begin -->") == text.count("<!-- fits:end -->") == 1
