"""Names with numbers in the order that people count in."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from latent_map.comparison.caveats import caveats
from latent_map.comparison.observers import describe_observers
from latent_map.files.natural_order import natural, natural_paths
from latent_map.files.pictures import find_pictures

from .study_files import write_pictures, write_ready_study
from .test_study_analyse import analysed, simulated

CUT = "9" * 5000  # more digits than Python makes a number of


@pytest.mark.parametrize(
    "names",
    [
        ["robot-0", "robot-1", "robot-2", "robot-10", "robot-11", "robot-100"],
        ["2", "10", "a", "a1b2", "a1b10", "a2b1", "b"],
        ["img", "img 01", "img 1", "img 002", "img 2"],
        ["", "0", "00", "1", CUT],
        ["Küche 2", "Küche 10", "台所2", "台所10"],
    ],
)
def test_numbers_in_names_count_as_numbers(names):
    shuffled = random.Random(0).sample(names, len(names))
    assert sorted(shuffled, key=natural) == names


@given(st.lists(st.text(alphabet="ab019é²٣ ", max_size=6), unique=True))
def test_the_order_of_names_does_not_depend_on_where_they_were(names):
    assert sorted(names, key=natural) == sorted(reversed(names), key=natural)
    assert sorted(set(map(natural, names))) == [natural(n) for n in sorted(names, key=natural)]


def test_folders_are_sorted_by_their_names_first():
    wanted = [Path("a2/z.png"), Path("a10/b1.png"), Path("a10/b9.png"), Path("a10/b10.png")]
    assert natural_paths(sorted(wanted)) == wanted


def test_the_pictures_of_a_folder_come_in_natural_order(tmp_path):
    write_pictures(tmp_path, 12, 16)
    assert [file.stem for file in find_pictures(tmp_path)] == [f"picture{n}" for n in range(12)]


def test_observers_are_listed_in_natural_order():
    wanted = [f"robot-{number}" for number in range(12)]
    votes = [
        replace(vote, observer=vote.observer.replace("observer", "robot-"))
        for vote in simulated(observers=12, pictures=2)
    ]
    analysis = analysed(votes)
    assert [observer.name for observer in describe_observers(votes, analysis.ballots)] == wanted
    assert f"({', '.join(wanted[:5])} and 7 more)" in caveats(analysis)[0]


def test_statistics_know_no_order_of_names():
    """Bootstraps draw observers by their places: the same names must have the same places."""
    ballots = analysed(simulated(observers=12, pictures=11)).ballots
    assert list(ballots.observers) == sorted(ballots.observers)
    assert list(ballots.pictures) == sorted(ballots.pictures)


def test_a_study_tables_its_pictures_naturally_and_draws_as_in_plain_order(tmp_path, run):
    path = write_ready_study(tmp_path, 12, selection="per_pair = 1\nrandom = 4")
    assert run("study", "run", path)[0] == 0
    assert run("study", "select", path)[0] == 0
    rows = (tmp_path / "study" / "results.csv").read_text().splitlines()[1:]
    tabled = [row.split(",")[1] for row in rows if row.startswith("input,")]
    assert tabled == [f"picture{n}" for n in range(12)]
    chosen, *drawn = [
        row.split(",")[2] for row in (tmp_path / "study" / "pairs.csv").read_text().splitlines()[1:]
    ]
    plain = sorted(tabled)
    left = [place for place, name in enumerate(plain) if name != chosen]
    assert drawn == [plain[place] for place in random.Random("0 1").sample(left, 4)]
