"""Vote files: written row by row, and read whatever has happened to them."""

import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from latent_map.comparison.votes import COLUMNS, Vote, append_vote, find_vote_files, read_votes

HEADER = ",".join(COLUMNS)
PWCMP = "observer,scene,condition_A,condition_B,is_A_selected"
VOTE = Vote("ann", "s1", "sea", "liqe", "niqe", True, "left", 812.5, 0, "study", "2026-01-02")


def file_of(path, *lines, end="\n"):
    path.write_text("\n".join(lines) + end, encoding="utf-8")
    return path


def test_votes_come_back_as_they_were_written(tmp_path):
    votes = [
        VOTE,
        replace(VOTE, scene='the "sea", again', is_a_selected=False, side="right", trial=1),
        replace(VOTE, observer="波", kind="repeat", trial=2, rt_ms=None),
        replace(VOTE, condition_b="trap", kind="trap", trial=3, time=""),
    ]
    for vote in votes:
        append_vote(tmp_path / "ann.csv", vote)
    assert read_votes(tmp_path) == (tuple(votes), ())
    assert (tmp_path / "ann.csv").read_text(encoding="utf-8").startswith(HEADER + "\n")
    assert [votes[0].winner, votes[1].winner, votes[1].loser] == ["liqe", "niqe", "liqe"]


def test_every_vote_is_on_the_disk_when_its_writing_returns(tmp_path):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from latent_map.comparison.votes import Vote, append_vote\n"
        "append_vote(Path(sys.argv[1]), Vote('ann', 's', 'sea', 'a', 'b', True))\n"
        "os.kill(os.getpid(), 9)"
    )
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "v.csv"], check=False, timeout=60)
    assert run.returncode == -9
    assert len(read_votes(tmp_path / "v.csv").votes) == 1


def test_it_is_synchronised_before_it_returns(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(os, "fsync", lambda handle: sizes.append(os.fstat(handle).st_size))
    append_vote(tmp_path / "v.csv", VOTE)
    assert sizes == [(tmp_path / "v.csv").stat().st_size]


def test_a_row_cut_anywhere_costs_no_other_vote(tmp_path):
    whole = tmp_path / "whole.csv"
    for trial in range(3):
        append_vote(whole, replace(VOTE, trial=trial))
    content = whole.read_bytes()
    second = content.index(b"\n", len(HEADER) + 1) + 1
    for length in range(len(content)):
        cut = tmp_path / "cut.csv"
        cut.write_bytes(content[:length])
        append_vote(cut, replace(VOTE, trial=9))
        votes, flaws = read_votes(cut)
        assert votes[-1].trial == 9
        assert len(votes) - 1 >= content[:length].count(b"\n") - 1
        assert len(votes) + len([f for f in flaws if not f.counted]) <= 4
        if length < len(HEADER):
            assert len(votes) == 1
    assert second > len(HEADER)


def test_a_file_of_others_is_not_appended_to(tmp_path):
    path = file_of(tmp_path / "other.csv", PWCMP)
    with pytest.raises(ValueError, match="does not begin with"):
        append_vote(path, VOTE)
    assert path.read_text() == PWCMP + "\n"


def test_a_vote_of_several_lines_is_refused(tmp_path):
    with pytest.raises(ValueError, match="one line"):
        append_vote(tmp_path / "v.csv", replace(VOTE, observer="a\nb"))
    assert not (tmp_path / "v.csv").exists()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_bare_files_of_pwcmp_are_read(tmp_path, delimiter, start):
    lines = [PWCMP, "1,sea,liqe,niqe,1", "2,sea,niqe,liqe,0"]
    path = file_of(tmp_path / "v.csv", start + lines[0].replace(",", delimiter))
    file_of(path, *(start * (not n) + s.replace(",", delimiter) for n, s in enumerate(lines)))
    votes, flaws = read_votes(path)
    assert not flaws
    assert [vote.winner for vote in votes] == ["liqe", "liqe"]
    assert {vote.kind for vote in votes} == {"study"}


def test_equal_rows_without_trials_are_votes_each(tmp_path):
    path = file_of(tmp_path / "v.csv", PWCMP, *["1,sea,a,b,1"] * 3)
    assert len(read_votes(path).votes) == 3


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("1,sea,a,b", "4 values for 5 columns (cut off?)"),
        ("1,sea,a,b,1,2", "6 values for 5 columns"),
        ("1,sea,a,b,2", "is_A_selected is '2', not 1 or 0"),
        ("1,sea,a,b,", "is_A_selected empty"),
        ("1,sea,a,a,1", "'a' against itself"),
        ("1,sea,a,c,1", "'c' is no entrant of the study"),
        ('1,"sea,a,b,1', "not a row of a CSV"),
        ("1,sea,a,trap,1", "a row of kind study with a and trap"),
    ],
)
def test_a_row_that_is_no_vote_is_named_and_the_others_count(tmp_path, row, text):
    path = file_of(tmp_path / "v.csv", PWCMP, "1,sea,a,b,1", row, "", "1,sea,b,a,1")
    votes, (flaw,) = read_votes(path, entrants=("a", "b"))
    assert len(votes) == 2
    assert (flaw.file, flaw.line, flaw.counted) == ("v.csv", 3, False)
    assert text in flaw.text


def test_a_vote_counts_though_its_extras_are_spoilt(tmp_path):
    path = file_of(tmp_path / "v.csv", HEADER, "1,s,sea,a,b,1,up,-3,x,study,")
    (vote,), (flaw,) = read_votes(path)
    assert flaw.counted
    assert flaw.text == "side 'up' left out; rt_ms '-3' left out; trial 'x' left out"
    assert (vote.side, vote.rt_ms, vote.trial) == ("", None, None)


def test_of_two_votes_of_one_trial_the_first_counts(tmp_path):
    for name in ("one", "two"):
        append_vote(tmp_path / f"{name}.csv", replace(VOTE, is_a_selected=name == "one"))
    votes, (flaw,) = read_votes(tmp_path)
    assert votes == (VOTE,)
    assert flaw == ("two.csv", 2, "this trial has a vote already; the first one counts", False)


@pytest.mark.parametrize("content", ["", "\n", "a,b,c\n1,2,3\n", "observer,scene,condition_A\n"])
def test_a_file_without_the_columns_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "v.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match="is no file of votes") as error:
        read_votes(path)
    assert "\n" not in str(error.value)


def test_no_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no \*.csv"):
        find_vote_files(tmp_path)
    with pytest.raises(ValueError, match="is no file"):
        read_votes(tmp_path / "none.csv")


def mutated(content, chance):
    """The bytes with a few random edits: cut, doubled, moved, replaced, thrown in."""
    content = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        at, other = (chance.randrange(len(content) + 1) for _ in range(2))
        few = bytes(chance.choice(b'\0\r\n,;"\xff\xe2a1-e.') for _ in range(chance.randint(1, 3)))
        edits = (
            lambda c, at=at: c[:at],
            lambda c, at=at, few=few: c[:at] + few + c[at:],
            lambda c, at=at, few=few: c[:at] + few + c[at + len(few) :],
            lambda c, at=at, other=other: c[:at] + c[min(at, other) : other] + c[at:],
            lambda c, at=at, other=other: c[: min(at, other)] + c[max(at, other) :],
        )
        content = chance.choice(edits)(content)
    return bytes(content)


def outcome(path):
    """How many votes a file holds; None if it is refused."""
    try:
        votes, flaws = read_votes(path)
    except ValueError as error:
        return None if len(str(error).splitlines()) == 1 else str(error)
    return len(votes) if all("\n" not in flaw.text for flaw in flaws) else flaws


def test_five_hundred_mutated_files_are_read_or_refused_in_one_line(tmp_path):
    chance = random.Random(1)
    path: Path = tmp_path / "v.csv"
    for trial in range(8):
        append_vote(path, replace(VOTE, trial=trial))
    content, outcomes = path.read_bytes(), []
    for _ in range(500):
        path.write_bytes(mutated(content, chance))
        outcomes.append(outcome(path))
    assert all(number is None or number <= 12 for number in outcomes)
    assert None in outcomes
    assert 8 in outcomes
