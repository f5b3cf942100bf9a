"""Every command that writes says so: a line on stdout begins with each file, or its folder."""

from pathlib import Path

import pytest

from .study_files import write_ready_study

SCORES = "score,mos\n" + "".join(f"{s},{50 - s}\n" for s in range(1, 20))
COMMANDS = [
    "enhance good.png -o b.png --prior niqe --iterations 1 --report r.json --sheet s.png "
    "--compare c.png",
    "enhance void -o out --prior niqe --iterations 1 --report r.json",
    "invert good.png -o a.state --steps 2",
    "reconstruct kept.state -o b.png",
    "recover good.png -o b.png --iterations 1",
    "calibrate --prior niqe --scores scores.csv -o fit.json",
    "study prepare study.toml",
    "study run study.toml",
    "study score study.toml --judges pocket",
    "study select study.toml",
]
CACHES = {"distances", "features", "selection.json"}  # of a study: what makes the next run quicker


def written(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Files, what is in them, and when they were written."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def announced(file: Path, out: str) -> bool:
    """Whether a line begins with a file, names it as a second one, or begins with its folder."""
    lines = out.splitlines()
    begun = {Path(line.partition(":")[0]).resolve() for line in lines} - {Path.cwd()}
    more = {Path(part.partition(": ")[0]).resolve() for line in lines for part in line.split("; ")}
    return bool(begun & {file, *file.parents}) or file in more


@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(c.split()[:2]) for c in COMMANDS])
def test_what_a_command_writes_it_names_on_stdout(folder, run, command):
    (folder / "void" / "good.png").write_bytes((folder / "good.png").read_bytes())
    (folder / "scores.csv").write_text(SCORES)
    if "kept.state" in command:
        run("invert", "good.png", "-o", "kept.state", "--steps", "2")
    if command.startswith("study"):
        write_ready_study(folder)
        for earlier in ("prepare", "run"):
            if f"study {earlier}" in command:
                break
            run("study", earlier, "study.toml")
    before = written(folder)
    code, out, _ = run(*command.split())
    assert code == 0
    new = [path for path, seen in written(folder).items() if before.get(path) != seen]
    new = [path for path in new if not CACHES & {path.name, *(p.name for p in path.parents)}]
    assert new
    assert [path for path in new if not announced(path, out)] == []
