"""The command line: its commands, and how their arguments are declared and read."""

import argparse
import re
from argparse import _SubParsersAction
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import pytest
from latent_map.__main__ import _parser
from latent_map.command_line import COMMANDS, GROUPS
from latent_map.command_line.arguments import (
    add_arguments,
    argument,
    option,
    options_of,
    read_arguments,
)
from latent_map.edict.backbones import BACKBONES


def test_the_version_is_told(run):
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("latent-map ")
    assert out.split()[1][0].isdigit()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_takes(run, name):
    code, out, err = run(name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: latent-map {name} ")
    assert COMMANDS[name] in run("--help")[1]


@pytest.mark.parametrize("group", GROUPS)
def test_every_command_of_a_group_says_what_it_takes(run, group):
    listed = run(group, "--help")[1]
    for name, summary in GROUPS[group].items():
        code, out, err = run(group, name, "--help")
        assert (code, err) == (0, "")
        assert out.startswith(f"usage: latent-map {group} {name} ")
        assert summary in listed


def test_a_group_wants_one_of_its_commands(run):
    code, _, err = run("study")
    assert code == 2
    assert err.count("\n") == 1
    assert "COMMAND" in err


def test_options_of_every_backbone_type_are_taken(run):
    _, out, _ = run("enhance", "--help")
    for row in BACKBONES.values():
        for each in fields(row.options):
            flag = f" --{each.name.replace('_', '-')}"
            internal = each.metadata.get("internal", False)
            assert (re.search(rf"{flag}\b(?!-)", out) is None) == internal, flag


def commands():
    """Every command as its words, with its parser's arguments but for hidden ones and --help."""
    for name in COMMANDS:
        for words in [[name, each] for each in GROUPS[name]] if name in GROUPS else [[name]]:
            parser = _parser(words)
            for word in words:
                (inner,) = (a for a in parser._actions if isinstance(a, _SubParsersAction))
                parser = inner.choices[word]
            shown = (a for a in parser._actions if a.help != argparse.SUPPRESS)
            yield pytest.param([a for a in shown if a.dest != "help"], id=" ".join(words))


@pytest.mark.parametrize("actions", commands())
def test_help_and_document_tell_every_option_and_its_default(actions):
    document = (Path(__file__).parents[1] / "docs" / "command_line.md").read_text()
    for action in actions:
        assert action.help, action.dest
        if action.default not in (None, (), "") and action.default is not False:
            assert re.search(
                rf"default\W.*{action.default}|{action.default} \(default", action.help
            )
        for flag in (flag for flag in action.option_strings if flag.startswith("--")):
            assert re.search(rf"{flag}\b(?!-)", document), flag


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = option("metres", default=3)


@dataclass(frozen=True)
class Apples:
    size: float = field(default=1.0, metadata={"help": "centimetres"})
    seed: str = field(default="", metadata={"help": "not offered", "internal": True})


@dataclass(frozen=True)
class Pears:
    size: float = field(default=2.0, metadata={"help": "inches"})
    ripe: bool = field(default=False, metadata={"help": "as they are"})


@dataclass(frozen=True, kw_only=True)
class Outer:
    files: tuple[Path, ...] = argument("several")
    kind: Literal["a", "b"] = option("one of two", default="a")
    limits: tuple[float, float] | None = option("two numbers", "-l", "--limits", default=None)
    fast: bool = option("a switch", default=False)
    left: str | None = option("this", default=None, one_of="side")
    right: str | None = option("or that", default=None, one_of="side")
    inner: Inner
    fruit: dict[str, object] = options_of(lambda: (Apples, Pears))  # noqa: RUF009


def read(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser, Outer)
    return read_arguments(Outer, parser.parse_args(words))


def test_fields_become_arguments_by_their_types():
    assert read("x", "--left", "l") == Outer(files=(Path("x"),), left="l", inner=Inner(), fruit={})
    words = "x y --kind b -l -1 2.5 --fast --right r --depth 7 --size 4 --ripe"
    assert read(*words.split()) == Outer(
        files=(Path("x"), Path("y")),
        kind="b",
        limits=(-1.0, 2.5),
        fast=True,
        right="r",
        inner=Inner(depth=7),
        fruit={"size": 4.0, "ripe": True},
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--left l", "files"),
        ("x", "one of the arguments --left --right is required"),
        ("x --left l --right r", "not allowed with"),
        ("x --left l --kind c", "invalid choice"),
        ("x --left l --limits 1", "expected 2 arguments"),
        ("x --left l --depth deep", "invalid int value"),
        ("x --left l --seed 1", "unrecognized arguments"),
    ],
)
def test_what_the_types_do_not_allow_is_refused(words, complaint, capsys):
    with pytest.raises(SystemExit):
        read(*words.split())
    assert complaint in capsys.readouterr().err
