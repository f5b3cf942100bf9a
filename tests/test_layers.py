import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACK = Path(__file__).resolve().parents[1]
# What each part may import from the rest of the pack. The files at the top that are not the
# foundation are the command line: a border, like nodes.
FOUNDATION = {"files"}
BOTTOM = {"edict", "iqa_priors", "fidelity"}
ENGINE = {*FOUNDATION, *BOTTOM, "map_estimation", "comparison"}
COMMAND_LINE = {"__main__", "command_line"}
ALLOWED = {
    **{name: set() for name in FOUNDATION},
    **{name: FOUNDATION for name in BOTTOM},
    "map_estimation": FOUNDATION | BOTTOM,
    "comparison": FOUNDATION | BOTTOM | {"map_estimation"},
    **{name: ENGINE | COMMAND_LINE for name in COMMAND_LINE},
    "nodes": ENGINE,
    "__init__": {"nodes", "edict", "fidelity", "iqa_priors", "map_estimation"},
}
OUTSIDE = {"tests", "training", "benchmarks"}  # folders of Python files that are not the pack
COMFYUI = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "execution", "folder_paths"}
COMFYUI |= {"nodes", "server"}
HEAVY = ("diffusers", "pyiqa", "scipy", "PIL", "torchvision", "piq", "timm", "transformers")
LONGEST = 400  # lines of a file; 300 is what we aim for
OWN_IMPORT_SECONDS = 0.5  # a ComfyUI start must not feel us; 2 ms measured

FILES = sorted(
    file
    for name in ALLOWED
    for pattern in (f"{name}.py", f"{name}/**/*.py")
    for file in PACK.glob(pattern)
)


def by_file(files):
    """A test for each of the files, named after it."""
    return pytest.mark.parametrize("file", files, ids=[str(f.relative_to(PACK)) for f in files])


every_file = by_file(FILES)
every_file_and_test = by_file([*FILES, *sorted(PACK.glob("tests/**/*.py"))])
every_library_file = by_file([file for file in FILES if file.relative_to(PACK).parts[0] != "nodes"])


def part_of(file):
    """The top-level part of the pack that a file belongs to."""
    return file.relative_to(PACK).parts[0].removesuffix(".py")


def imports(file):
    """(dots, dotted name) of every import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.level, node.module
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, alias.name) for alias in node.names)


def relative_target(file, dots, name):
    """Path inside the pack, without suffix, that a relative import means."""
    base = file.parent
    for _ in range(dots - 1):
        base = base.parent
    return base.joinpath(*name.split("."))


def module_file(path):
    """The file of the module or package at a path without suffix; None if it is neither."""
    places = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((place for place in places if place.is_file()), None)


def imported_files(file):
    """The pack's files that a file imports, be it at its beginning or inside a function."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            source = relative_target(file, node.level, node.module or "")
            for alias in node.names:
                # A name is a module of the package it is taken from, or something in that module.
                yield module_file(source / alias.name) or module_file(source)


def in_subprocess(code):
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return run.stdout.split()


def test_every_folder_of_the_pack_has_its_rule():
    folders = {folder.parent.name for folder in PACK.glob("*/__init__.py")}
    assert {"edict", "iqa_priors", "fidelity", "map_estimation"} <= folders
    assert folders <= set(ALLOWED) | OUTSIDE


@every_file
def test_dependencies_point_one_way(file):
    part = part_of(file)
    for dots, name in imports(file):
        if dots:
            target = relative_target(file, dots, name)
            other = target.relative_to(PACK).parts[0]
            assert other == part or other in ALLOWED[part], f"{part} must not import {other}"


def test_no_modules_import_each_other_in_a_circle():
    imported = {file: set(imported_files(file)) for file in FILES}
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        circle = " is imported by ".join(str(file.relative_to(PACK)) for file in error.args[1])
        pytest.fail(f"{circle}: move what both need into a third module")


@every_file_and_test
def test_no_file_is_longer_than_a_head_holds(file):
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{lines} lines: split the file by subject"


@every_file
def test_the_pack_imports_itself_relatively_only(file):
    own = (ENGINE | COMMAND_LINE | OUTSIDE | {"latent_map"}) - {"__main__"}
    absolute = {name.split(".")[0] for dots, name in imports(file) if not dots}
    assert not absolute & own


@every_library_file
def test_only_nodes_import_comfyui(file):
    assert not {name.split(".")[0] for dots, name in imports(file) if not dots} & COMFYUI


@every_file
def test_nothing_touches_the_import_path(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("sys", "path")
        if isinstance(node, ast.ImportFrom) and node.module == "sys":
            assert "path" not in {alias.name for alias in node.names}


def public_definitions(body, prefix=""):
    """(name, node) of public functions, classes, and public methods of these."""
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            yield from public_definitions(node.body, prefix)
        is_definition = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if is_definition and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{prefix}{node.name}.")


@every_library_file
def test_everything_public_has_a_docstring(file):
    definitions = public_definitions(ast.parse(file.read_text(encoding="utf-8")).body)
    bare = [
        name
        for name, node in definitions
        if not ast.get_docstring(node) and not name.endswith(".forward")
    ]
    assert not bare


def test_importing_the_pack_is_quick_and_light():
    seconds, *loaded = in_subprocess(
        "import sys, time; start = time.perf_counter(); import latent_map;"
        "print(time.perf_counter() - start);"
        f"print(*({{'torch', 'numpy', *{HEAVY}}} & set(sys.modules)))"
    )
    assert not loaded
    assert float(seconds) < OWN_IMPORT_SECONDS


def test_the_engine_loads_heavy_packages_only_when_they_are_used():
    modules = "map_estimation.enhance", "edict.backbones", "edict.latents_file"
    modules += "iqa_priors.loading", "fidelity.loading"
    code = "import sys\n" + "".join(f"import latent_map.{module}\n" for module in modules)
    assert not in_subprocess(code + f"print(*(set({HEAVY}) & set(sys.modules)))")


def test_the_command_line_shows_its_help_without_torch():
    code = (
        "import sys, latent_map.__main__ as command\n"
        "try: command.main(['enhance', '--help'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    assert in_subprocess(code)[-1] == "False"


def test_what_can_be_chosen_is_listed_without_torch():
    modules = "iqa_priors.choices", "fidelity.choices", "iqa_priors.catalog", "fidelity.catalog"
    code = "import sys\n" + "".join(f"import latent_map.{module}\n" for module in modules)
    assert not in_subprocess(code + f"print(*({{'torch', 'numpy', *{HEAVY}}} & set(sys.modules)))")
