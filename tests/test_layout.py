"""Who may import whom, and how large things may grow."""

import ast
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = "dvmap_jax"

# Room -> rooms it may import; its own modules and those of OPEN are open to every room.
OPEN = ("records", "files", "paths")
ROOMS = {
    "records": set(),
    "files": set(),
    "paths": set(),
    "processes": set(),
    "sharding": set(),
    "survey": set(),
    "data": {"survey", "sharding"},
    "model": {"sharding"},
    "hf": {"model", "sharding", "processes"},
    "rl": {"survey", "data", "model", "sharding", "processes"},
    "evaluation": {"survey", "data", "model", "sharding", "processes"},
    "config": {"survey", "data", "model", "rl", "evaluation", "sharding", "train"},
    "train": {
        *("survey", "data", "model", "hf", "rl", "evaluation", "sharding", "processes", "config"),
    },
    "bench": {
        *("survey", "data", "model", "hf", "rl", "evaluation", "sharding", "train", "config"),
    },
    "command": set(),
    "run_flags": {"config", "command", "processes"},
    "evaluate_flags": {"command", "data", "evaluation"},
}
# Packages that a room must not know.
FOREIGN = {
    "survey": {"jax", "flax", "transformers", "torch"},
    "sharding": {"transformers", "torch"},
    "data": {"torch", "flax"},
    "model": {"transformers", "tokenizers", "torch", "pandas"},
    "hf": {"optax", "orbax", "torch", "pickle"},
    "rl": {"optax", "orbax", "torch"},
    "evaluation": {"optax", "orbax", "torch"},
    "train": {"absl", "ml_collections", "torch"},
    "bench": {"absl", "ml_collections", "torch", "transformers"},
}
MAX_LINES = {PACKAGE: 350, "tests": 350, "scripts": 100, "configs": 100}
MAX_FUNCTION, MAX_TEST_FUNCTION, MAX_NESTING, MAX_ARGUMENTS = 60, 40, 3, 8
FIXED_SIGNATURES = {"grpo_loss"}  # its keywords are what others call it with
BANNED_NAMES = {"utils", "common", "helpers", "base", "misc"}
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

PYTHON = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for folder in MAX_LINES
    for path in sorted((ROOT / folder).rglob("*.py"))
}
OURS = {name: tree for name, tree in PYTHON.items() if name.startswith(f"{PACKAGE}/")}


def imports(tree: ast.AST) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def imported_modules(tree: ast.AST) -> set[str]:
    """Dotted names of the modules a file imports."""
    names = set()
    for node in imports(tree):
        names |= {node.module} if isinstance(node, ast.ImportFrom) else {a.name for a in node.names}
    return {name for name in names if name}


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def room(module: str) -> str:
    return (module.split(".") + [""])[1]


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


def nesting(node: ast.AST, depth: int = 0) -> int:
    """Depth of blocks inside a function; an `elif` is no deeper than its `if`."""
    deepest = depth
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        step = 1 if isinstance(child, BLOCKS) and not is_elif else 0
        deepest = max(deepest, nesting(child, depth + step))
    return deepest


def num_arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
    own = names[1:] if names[:1] in (["self"], ["cls"]) else names
    return len(own) + len(function.args.kwonlyargs)


@pytest.mark.parametrize("path", OURS)
def test_rooms_import_only_what_the_table_allows(path):
    own = room(module_name(path))
    found = {room(name) for name in imported_modules(OURS[path]) if name.startswith(f"{PACKAGE}.")}
    if own:
        assert own in ROOMS, f"{path} is in no room of the table"
        assert found <= ROOMS[own] | {own, *OPEN}
    outside = {name.split(".")[0] for name in imported_modules(OURS[path])}
    assert not outside & FOREIGN.get(own, set())


def test_owners_of_config_classes_do_not_import_the_run_config():
    """The config gathers classes that train/ owns, so what owns them must not import it."""
    importers = {
        path for path, tree in OURS.items() if f"{PACKAGE}.config" in imported_modules(tree)
    }
    owners = {f"{PACKAGE}/train/{name}.py" for name in ("checkpoints", "log", "state", "weights")}
    assert not importers & owners
    users = (f"{PACKAGE}/train/", f"{PACKAGE}/bench/", f"{PACKAGE}/run_flags.py")
    assert {path for path in importers if not path.startswith(users)} == set()


def test_config_takes_nothing_but_config_classes_from_the_rooms():
    nodes = [
        node for node in imports(OURS[f"{PACKAGE}/config.py"]) if isinstance(node, ast.ImportFrom)
    ]
    taken = {
        alias.name
        for node in nodes
        for alias in node.names
        if node.module.startswith(f"{PACKAGE}.") and room(node.module) != "records"
    }
    assert {name for name in taken if not name.endswith("Config")} == set()


def test_imports_make_no_ring():
    graph = {
        module_name(path): {name for name in imported_modules(tree) if name.startswith(PACKAGE)}
        for path, tree in OURS.items()
    }
    while graph:
        free = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert free, f"import ring among {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in free}


def test_grpo_is_arithmetic_on_arrays():
    found = imported_modules(OURS[f"{PACKAGE}/rl/grpo.py"])
    assert not {name for name in found if name.startswith(PACKAGE)}


def test_scripts_do_not_import_one_another_and_configs_only_the_config():
    for path, tree in PYTHON.items():
        found = imported_modules(tree)
        if path.startswith("scripts/"):
            assert not {name for name in found if name.split(".")[0] == "scripts"}, path
        if path.startswith("configs/"):
            ours = {name for name in found if name.split(".")[0] in (PACKAGE, "scripts")}
            assert ours <= {f"{PACKAGE}.config"}, path


@pytest.mark.parametrize("path", PYTHON)
def test_imports_stand_at_the_top_and_name_modules_in_full(path):
    tree = PYTHON[path]
    inside = [node for function in functions(tree) for node in imports(function)]
    assert not inside, f"{path}:{inside[0].lineno} imports inside a function"
    for node in imports(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            assert [alias.name for alias in node.names] != ["*"], f"{path}:{node.lineno} imports *"


def test_inits_are_empty_and_names_say_something():
    for path, tree in OURS.items():
        if path.endswith("/__init__.py"):
            assert len(tree.body) == 1, f"{path} must hold one docstring and nothing else"
        assert pathlib.Path(path).stem not in BANNED_NAMES, path
        assert ast.get_docstring(tree), f"{path} has no docstring"


@pytest.mark.parametrize("path", PYTHON)
def test_files_and_functions_stay_small(path):
    lines = (ROOT / path).read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES[path.split("/")[0]], f"{path} has {lines} lines"
    for function in functions(PYTHON[path]):
        where = f"{path}:{function.lineno} {function.name}"
        is_test = function.name.startswith("test_")
        length = function.end_lineno - function.lineno + 1
        assert length <= (MAX_TEST_FUNCTION if is_test else MAX_FUNCTION), (
            f"{where}: {length} lines"
        )
        assert nesting(function) <= MAX_NESTING, f"{where} is nested too deeply"
        fits = num_arguments(function) <= MAX_ARGUMENTS or function.name in FIXED_SIGNATURES
        assert fits, f"{where} takes too many arguments"


def test_library_prints_nothing():
    for path, tree in OURS.items():
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        printed = [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
        assert not printed, f"{path}:{printed} prints; train/log.py writes"


@pytest.mark.parametrize(
    ("home", "pattern"),
    [
        ("sharding.py", r"fsdp|tensor"),  # mesh axes
        ("hf/names.py", r".*(self_attn|input_layernorm|embed_tokens|blk\.|attn_norm).*"),
        ("survey/codebook.py", r"Q\d{1,3}(CS9|R)?|B_COUNTRY"),  # survey variables
    ],
)
def test_foreign_names_are_spelled_in_one_place(home, pattern):
    for path, tree in OURS.items():
        texts = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        spelled = {text for text in texts if re.fullmatch(pattern, text)}
        assert path == f"{PACKAGE}/{home}" or not spelled, f"{path} spells {spelled}"


def test_third_party_imports_are_declared():
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8").lower().replace("-", "_")
    aliases = {"absl": "absl_py", "orbax": "orbax_checkpoint", "sklearn": "scikit_learn"}
    for path, tree in OURS.items():
        for name in {name.split(".")[0] for name in imported_modules(tree)} - {PACKAGE}:
            known = name in sys.stdlib_module_names or aliases.get(name, name).lower() in declared
            assert known, f"{path} imports {name}, which pyproject.toml does not list"
