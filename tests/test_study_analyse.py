"""latent-map study analyse: from vote files to tables and a report."""

import csv
import json
import random
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from latent_map.comparison.analysis import AnalysisSettings, analyse
from latent_map.comparison.caveats import caveats
from latent_map.comparison.report.page import as_page
from latent_map.comparison.report.text import all_tables, as_json
from latent_map.comparison.thurstone import SCALE
from latent_map.comparison.vote_source import find_source
from latent_map.comparison.votes import Vote, VotesRead, append_vote, read_votes
from PIL import Image

from .test_votes import mutated

SCORES = {"good": 1.0, "fair": 0.2, "poor": -1.2}
VOID = {"meta", "img", "line", "rect", "circle", "br"}  # without an end; SVG closes its own


def simulated(scores=None, observers=6, pictures=8, seed=3):
    """Votes of observers who prefer by these scores, each pair of entrants on each picture."""
    scores, chance = scores or SCORES, np.random.default_rng(seed)
    names = list(scores)
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    asked = [
        (f"observer{o}", f"picture{p}", a, b)
        for o in range(observers)
        for p in range(pictures)
        for a, b in pairs
    ]
    won = [bool(chance.normal(0, SCALE) < scores[a] - scores[b]) for _, _, a, b in asked]
    return [
        Vote(*question[:1], "s", *question[1:], answer, "left", 900.0, trial)
        for trial, (question, answer) in enumerate(zip(asked, won, strict=True))
    ]


def written(path, votes):
    path.parent.mkdir(parents=True, exist_ok=True)
    for vote in votes:
        append_vote(path, vote)
    return path


def analysed(votes, **settings):
    return analyse(VotesRead(tuple(votes), ()), AnalysisSettings(draws=50, **settings))


class Balance(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def checked_page(page):
    parser = Balance()
    parser.feed(page)
    assert not parser.open
    assert not re.search(r"\b(nan|inf)\b", page)
    return parser.seen


def test_a_bare_file_of_votes_becomes_numbers(tmp_path, run):
    path = written(tmp_path / "votes.csv", simulated())
    code, out, err = run("study", "analyse", path, "--json", tmp_path / "out.json")
    assert code == 0, err
    numbers = json.loads((tmp_path / "out.json").read_text())
    assert list(numbers["scores"]) == ["good", "fair", "poor"]
    assert sum(numbers["scores"].values()) == pytest.approx(0, abs=1e-9)
    assert numbers["scores"]["good"] - numbers["scores"]["poor"] == pytest.approx(2.2, abs=0.6)
    assert "| 1 | good |" in out
    assert not (tmp_path / "votes-analysis").exists()


def test_the_same_votes_give_the_same_numbers(tmp_path, run):
    path = written(tmp_path / "votes.csv", simulated())
    for name in ("a.json", "b.json"):
        assert run("study", "analyse", path, "--json", tmp_path / name)[0] == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_scores_do_not_depend_on_who_is_a_and_b_or_on_the_order_of_rows():
    votes = simulated()
    swapped = [
        replace(
            vote,
            condition_a=vote.condition_b,
            condition_b=vote.condition_a,
            is_a_selected=not vote.is_a_selected,
        )
        for vote in reversed(votes)
    ]
    assert analysed(swapped).scores == pytest.approx(analysed(votes).scores, abs=1e-10)


@pytest.fixture
def study(tmp_path):
    """A study's folder with votes, pictures and pairs."""
    votes = simulated()
    written(tmp_path / "trees" / "votes" / "a.csv", votes)
    for folder in ("inputs", *(f"results/{name}" for name in SCORES)):
        (tmp_path / "trees" / folder).mkdir(parents=True)
        for number in range(8):
            colour = (30 * number, 90, 120)
            file = tmp_path / "trees" / folder / f"picture{number}.png"
            Image.new("RGB", (40, 30), colour).save(file)
    rows = [("picture,model_a,model_b,d1,stratum")]
    rows += [f"picture{n},good,{other},0.{n + 1},discrepancy" for n in (3, 1) for other in SCORES]
    (tmp_path / "trees" / "pairs.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "trees"


def test_a_study_gets_tables_and_a_report(study, run):
    (study / "srcc.csv").write_text("entrant,srcc,n\ngood,.8,500\nfair,.9,500\npoor,.7,500\n")
    code, _, err = run("study", "analyse", study, "--srcc", study / "srcc.csv")
    assert code == 0, err
    made = {file.name for file in (study / "analysis").iterdir()}
    names = "ranking comparisons counts against shares observers rank_agreement david planning"
    assert made >= {*(f"{name}.csv" for name in names.split()), "report.html", "analysis.md"}
    with (study / "analysis" / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["entrant"] for row in rows] == ["good", "fair", "poor"]
    page = (study / "analysis" / "report.html").read_text("utf-8")
    seen = checked_page(page)
    assert seen.count("img") == 2 * 2 * 3  # two pairs, two pictures each, before and both results
    assert "discrepancy 0.4<" in page
    for outside in ("http://", "https://", "<script", "<link", 'src="/'):
        assert outside not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_strata_are_scored_by_themselves(study, run):
    shown = [("picture,model_a,model_b,stratum")]
    for number in range(8):
        stratum = "discrepancy" if number < 5 else "random"
        pairs = ("good,fair", "poor,good", "poor,fair")  # whichever way round
        shown += [f"picture{number},{pair},{stratum}" for pair in pairs]
    (study / "pairs.csv").write_text("\n".join(shown) + "\n")
    (study / "selection.json").write_text('{"settings": {"measure": "lpips"}, "note": "So."}')
    assert run("study", "analyse", study)[0] == 0
    with (study / "analysis" / "strata.csv").open() as file:
        rows = list(csv.DictReader(file))
    votes = simulated()
    for name, inside in (("discrepancy", range(5)), ("random", range(5, 8))):
        alone = analysed([v for v in votes if int(v.scene[-1]) in inside])
        scores = {row["entrant"]: float(row[f"{name}_score"]) for row in rows}
        assert scores == pytest.approx(alone.scores, abs=1e-9)
        assert {row[f"{name}_votes"] for row in rows} == {str(6 * 2 * len(inside))}
    page = (study / "analysis" / "report.html").read_text("utf-8")
    assert "No interval" not in page
    assert "measure lpips. So." in page
    assert "Strata of pictures" in page


def test_a_study_is_found_by_its_file(study, run):
    toml = study.with_suffix(".toml")
    pictures = '[pictures]\nfolder = "trees/inputs"\n'
    entrants = "".join(
        f'[[entrant]]\nname = "{name}"\nfolder = "trees/results/{name}"\n' for name in SCORES
    )
    toml.write_text(pictures + entrants)
    code, _, err = run("study", "analyse", toml)
    assert code == 0, err
    assert (study / "analysis" / "report.html").is_file()
    toml.write_text(pictures + entrants.replace('"good"', '"trap"'))
    code, _, err = run("study", "analyse", toml)
    assert code == 2
    assert "as traps are" in err


def test_a_study_without_readable_pictures_gets_a_report_without_them(study, run):
    for file in (study / "results" / "good").iterdir():
        file.write_bytes(b"no picture")
    (study / "pairs.csv").write_bytes(b"\xff\x00,\n")
    code, _, err = run("study", "analyse", study)
    assert code == 0, err
    page = (study / "analysis" / "report.html").read_text("utf-8")
    assert "good</figcaption>" not in page


def test_votes_on_strangers_are_not_counted_in_a_study(study, run):
    stranger = Vote("ann", "s", "picture1", "good", "godo", True, trial=900)
    append_vote(study / "votes" / "a.csv", stranger)
    code, out, _ = run("study", "analyse", study)
    assert code == 0
    assert "'godo' is no entrant of the study" in out
    assert "| godo |" not in out


def test_names_cannot_break_the_report():
    script = "<script>alert(1)</script> \"'&|"
    votes = [replace(v, condition_a=v.condition_a.replace("good", script)) for v in simulated()]
    votes = [replace(v, observer=v.observer.replace("observer1", script)) for v in votes]
    analysis = analysed(votes)
    page = as_page(analysis, find_source_of(votes))
    assert "script" not in checked_page(page)
    assert "&lt;script&gt;" in page


def find_source_of(votes):
    """A source without files, for pages of votes that are in memory."""

    class Source:
        title, study = "A & B", None

        def digests(self):
            return [("votes.csv", "00")]

    return Source()


def test_zero_votes_are_one_line(tmp_path, run):
    path = written(tmp_path / "votes.csv", [replace(simulated()[0], kind="training")])
    code, _, err = run("study", "analyse", path)
    assert code == 2
    assert err.count("\n") == 1
    assert "no votes of kind study" in err
    (tmp_path / "s" / "results" / "a").mkdir(parents=True)
    code, _, err = run("study", "analyse", tmp_path / "s")
    assert code == 2
    assert "holds no votes yet" in err


def test_all_rows_unusable_says_why(tmp_path, run):
    path = tmp_path / "votes.csv"
    path.write_text("observer,scene,condition_A,condition_B,is_A_selected\n1,sea,a,b,9\n")
    code, _, err = run("study", "analyse", path)
    assert code == 2
    assert "1 rows could not be used: votes.csv, line 2: is_A_selected is '9'" in err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--level", "2"), "level 2.0"),
        (("--draws", "-1"), "draws -1"),
        (("--seed", "-1"), "seed -1"),
        (("--exclude", "nobody"), "no vote is by 'nobody'"),
        (("--against", "nobody"), "nobody voted on 'nobody'"),
        (("--srcc", "none.csv"), "none.csv"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, run, arguments, text):
    path = written(tmp_path / "votes.csv", simulated(observers=1, pictures=2))
    code, _, err = run("study", "analyse", path, *arguments)
    assert code in (2, 3)
    assert err.count("\n") == 1
    assert text in err


def test_an_excluded_observer_is_named(tmp_path, run):
    path = written(tmp_path / "votes.csv", simulated())
    arguments = "--exclude", "observer2", "--json", tmp_path / "out.json"
    code, out, _ = run("study", "analyse", path, *arguments)
    assert code == 0
    assert "Left out on request: observer2 (24 votes)" in out
    assert json.loads((tmp_path / "out.json").read_text())["observers"] == 5


def test_one_observer_is_marked():
    analysis = analysed(simulated(observers=1))
    assert analysis.covariance.clustering == "pictures"
    assert any("not for other people" in sentence for sentence in caveats(analysis))


def test_one_picture_a_pair_is_marked_and_not_tested():
    analysis = analysed([replace(v, scene=v.condition_a) for v in simulated()])
    assert any("there are no tests" in sentence for sentence in caveats(analysis))
    assert all(np.isnan(row.p) for row in analysis.comparisons)
    checked_page(as_page(analysis, find_source_of([])))


def test_unanimous_votes_are_marked_with_a_bound():
    votes = [
        replace(v, is_a_selected=v.condition_a == "good" or v.is_a_selected) for v in simulated()
    ]
    analysis = analysed(votes)
    text = " ".join(caveats(analysis))
    assert "marked regularised" in text
    assert "good over fair by at least" in text
    (ranking, *_) = all_tables(analysis)
    assert {row[-1] for row in ranking.rows} == {"regularised"}
    assert json.loads(as_json(analysis))["regularised"] == ["fair", "good", "poor"]
    assert analysis.drawn.infinite == 50
    checked_page(as_page(analysis, find_source_of(votes)))


def test_islands_are_never_compared():
    votes = simulated() + simulated({"x": 0.0, "y": 0.5}, seed=2)
    analysis = analysed(votes)
    assert "No vote links good, fair, poor | y, x" in caveats(analysis)[0]
    across = [
        row
        for row in analysis.comparisons
        if len({analysis.ballots.entrants[i] in SCORES for i in (row.first, row.second)}) == 2
    ]
    assert len(across) == 6
    assert all(np.isnan(row.p) and np.isnan(row.difference) for row in across)
    page = as_page(analysis, find_source_of(votes))
    assert "no common ranking" in page
    checked_page(page)


def test_a_slip_of_the_pen_is_asked_about():
    votes = [*simulated(), Vote("ann", "s", "picture1", "good", "godo", True)]
    text = " ".join(caveats(analysed(votes)))
    assert "'godo' has 1 of the votes" in text


def test_an_observer_who_answers_the_opposite_is_named():
    votes = [
        replace(v, is_a_selected=not v.is_a_selected) if v.observer == "observer3" else v
        for v in simulated(observers=8, pictures=12)
    ]
    (odd,) = [o for o in analysed(votes).observers if o.look_into]
    assert odd.name == "observer3"


@pytest.mark.parametrize("seed", range(40))
def test_any_few_votes_are_analysed_and_reported(seed):
    chance = random.Random(seed)
    entrants, pictures = "abcde"[: chance.randint(2, 5)], chance.randint(1, 3)
    votes = []
    for _ in range(chance.randint(1, 30)):
        a, b = chance.sample(entrants, 2)
        scene, observer = f"p{chance.randrange(pictures)}", f"o{chance.randint(1, 3)}"
        votes.append(Vote(observer, "", scene, a, b, chance.random() < 0.7))
    analysis = analysed(votes)
    json.loads(as_json(analysis))
    checked_page(as_page(analysis, find_source_of(votes)))


def test_five_hundred_mutated_files_are_analysed_or_refused_in_one_line(tmp_path):
    chance, path = random.Random(2), tmp_path / "v.csv"
    content = written(path, simulated(observers=2, pictures=2)).read_bytes()
    refused, analysed_files = [], 0
    settings = AnalysisSettings(draws=5)
    for _ in range(500):
        path.write_bytes(mutated(content, chance))
        try:
            source = find_source(path)
            analysis = analyse(read_votes(source.votes), settings)
            if analysed_files % 10 == 0:
                checked_page(as_page(analysis, source))
            analysed_files += 1
        except ValueError as error:
            refused.append(str(error))
    assert analysed_files > 100
    assert refused
    assert not [text for text in refused if "\n" in text]


def test_simulated_observers_are_told_first():
    people = simulated()
    assert not any("simulated" in sentence for sentence in caveats(analysed(people)))
    robots = [replace(vote, observer=f"robot-{vote.observer[-1]}") for vote in people]
    assert caveats(analysed(robots))[0].startswith("All 6 observers are simulated (robot-0,")
    mixed = [
        robot if robot.observer < "robot-2" else person
        for robot, person in zip(robots, people, strict=True)
    ]
    assert caveats(analysed(mixed))[0].startswith(
        "2 of 6 observers are simulated (robot-0, robot-1)"
    )
