import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from latent_map.comparison.observer_names import checked_name, robot_name
from latent_map.comparison.robots import run_robot
from latent_map.comparison.serving_lock import serving
from latent_map.comparison.session import RefusedError, Session
from latent_map.comparison.trials import read_trials
from latent_map.comparison.viewing import checked_viewing, pixels_per_degree
from latent_map.comparison.votes import SPOILT, read_votes

from .tiny_study import SETTINGS, make_study

ALL = 2 + 12 + 2 + 1  # training, pairs, traps, repeats of `SETTINGS`


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path / "study")


@pytest.fixture
def session(study):
    return Session(study, "main", SETTINGS)


def answer(session, observer, count=None, side="left"):
    """Answer some of an observer's trials, or all that are left; returns how many."""
    done = 0
    question = session.question(observer)
    while question.trial is not None and done != count:
        question = session.vote(observer, question.trial, side, 900)
        done += 1
    return done


def votes_of(session):
    found = read_votes(session.votes_file)
    assert not found.flaws
    return found.votes


def test_the_trial_list_is_written_before_the_first_trial(session):
    session.begin("Anna", resume=False, viewing={})
    _, trials = read_trials(session.place / "trials.csv")["Anna"]
    assert len(trials) == ALL
    assert not session.votes_file.exists()


def test_a_vote_is_on_the_disk_before_the_next_question(session):
    observer = session.begin("Anna", resume=False, viewing={})
    for number in range(ALL):
        session.vote(observer, number, "right", 1234.56)
        assert len(votes_of(session)) == number + 1
    assert session.question(observer).trial is None


def test_a_vote_says_what_was_shown_and_chosen(session):
    observer = session.begin("Anna", resume=False, viewing={})
    answer(session, observer)
    _, trials = read_trials(session.place / "trials.csv")[observer]
    for vote, trial in zip(votes_of(session), trials, strict=True):
        assert (vote.scene, vote.condition_a, vote.condition_b) == trial.pair
        assert (vote.observer, vote.session, vote.trial) == ("Anna", "main", trial.number)
        assert (vote.side, vote.kind, vote.rt_ms) == (trial.side, trial.kind, 900)
        assert vote.is_a_selected == (trial.side == "left")  # left was chosen


def test_a_vote_that_is_sent_twice_counts_once(session):
    observer = session.begin("Anna", resume=False, viewing={})
    first = session.vote(observer, 0, "left", 10)
    again = session.vote(observer, 0, "right", 20)
    assert again == first
    (vote,) = votes_of(session)
    assert vote.rt_ms == 10


def test_many_resends_at_once_count_once(session):
    observer = session.begin("Anna", resume=False, viewing={})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: session.vote(observer, 0, "left", 1), range(40)))
    assert len(votes_of(session)) == 1


def test_no_trial_can_be_answered_before_its_turn(session):
    observer = session.begin("Anna", resume=False, viewing={})
    for number in (1, ALL, -1):
        with pytest.raises(RefusedError, match="not the next"):
            session.vote(observer, number, "left", 1)
    assert not session.votes_file.exists()


def test_a_session_goes_on_after_a_restart(study, session):
    observer = session.begin("Anna", resume=False, viewing={})
    answer(session, observer, 5)
    expected = session.question(observer)
    later = Session(study, "main", SETTINGS)
    assert later.question("Anna") == expected
    assert later.begin("Anna", resume=True, viewing={}) == "Anna"
    answer(later, "Anna")
    assert sorted(vote.trial or 0 for vote in votes_of(later)) == list(range(ALL))


def test_a_row_that_a_crash_cut_off_is_asked_again(study, session):
    observer = session.begin("Anna", resume=False, viewing={})
    answer(session, observer, 4)
    content = session.votes_file.read_bytes()
    session.votes_file.write_bytes(content[:-45])  # not only the time
    later = Session(study, "main", SETTINGS)
    assert later.question("Anna").trial == 3
    answer(later, "Anna")
    found = read_votes(later.votes_file)
    assert len(found.votes) == ALL
    assert len(found.flaws) == 1


def test_a_name_that_is_there_already_is_asked_about(session):
    session.begin("Anna", resume=False, viewing={})
    with pytest.raises(RefusedError, match="Anna has begun") as caught:
        session.begin("  anna ", resume=False, viewing={})
    assert caught.value.code == "taken"
    assert session.begin("anna", resume=True, viewing={}) == "Anna"
    assert list(session.progress()) == ["Anna"]


def test_sides_are_balanced_over_the_observers_of_all_sessions(study):
    left = Counter()
    for name in ("monday", "tuesday"):
        session = Session(study, name, SETTINGS)
        session.begin_robot("5", {})  # robots take nobody's turn
        session.begin(f"observer of {name}", resume=False, viewing={})
        _, trials = read_trials(session.place / "trials.csv")[f"observer of {name}"]
        left.update(t.pair for t in trials if t.kind == "study" and t.side == "left")
    assert set(left.values()) == {1}
    assert len(left) == 12


def test_each_side_shows_its_picture(study, session):
    observer = session.begin("Anna", resume=False, viewing={})
    for number in range(ALL):
        trial = session.trial(observer, number)
        other = "right" if trial.side == "left" else "left"
        first, second = (session.picture(observer, number, side) for side in (trial.side, other))
        assert first == study / "results" / trial.pair.a / f"{trial.pair.scene}.png"
        if trial.kind == "trap":
            assert second.is_relative_to(session.place / "traps")
        else:
            assert second == study / "results" / trial.pair.b / f"{trial.pair.scene}.png"
        assert second.is_file()


def test_a_break_is_offered_every_so_many_trials(session):
    observer = session.begin("Anna", resume=False, viewing={})
    answer(session, observer, SETTINGS.training)
    breaks = []
    for count in range(ALL - SETTINGS.training):
        if session.question(observer).rest:
            breaks.append(count)
        answer(session, observer, 1)
    assert breaks == [8]


def test_settings_and_pairs_stay_as_they_were_when_it_began(study, session):
    with pytest.raises(ValueError, match=r"other \['seed'\].*--session"):
        Session(study, "main", replace(SETTINGS, seed=4))
    with (study / "pairs.csv").open("a") as file:
        file.write("9,9,picture 4,untouched,gentle prior,0.1\n")
    with pytest.raises(ValueError, match="has changed since session main began"):
        Session(study, "main", SETTINGS)
    Session(study, "second", SETTINGS)


@pytest.mark.parametrize("kind", ["training", "study"])
def test_pictures_stay_as_they_were_when_it_began(study, session, kind):
    observer = session.begin("Anna", resume=False, viewing={})
    trials = [session.trial(observer, number) for number in range(ALL)]
    number = next(trial.number for trial in trials if trial.kind == kind)
    file = session.picture(observer, number, "left")
    content = file.read_bytes()
    file.write_bytes(content + b" ")
    with pytest.raises(ValueError, match="has changed since session main began"):
        Session(study, "main", SETTINGS)
    file.unlink()
    with pytest.raises(ValueError, match="has changed since session main began"):
        Session(study, "main", SETTINGS)
    file.write_bytes(content)
    Session(study, "main", SETTINGS)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"settings": 1', "null"])
def test_a_damaged_session_is_refused(study, session, content):
    (session.place / "session.json").write_text(content)
    with pytest.raises(ValueError, match="damaged"):
        Session(study, "main", SETTINGS)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "é", "x" * 61, ".."])
def test_a_session_is_named_so_that_files_can_be(study, name):
    with pytest.raises(ValueError, match="ASCII letters"):
        Session(study, name, SETTINGS)


@pytest.mark.parametrize("name", ["", "  ", "=1+1", "-x", "a\nb\x00", "../a", "a,b", 'a"b', "<b>",
                                  "x" * 41, "robot-3", "Robot", "+49", "@home"])  # fmt: skip
def test_names_that_could_do_harm_are_refused(session, name):
    with pytest.raises(RefusedError) as caught:
        session.begin(name, resume=True, viewing={})
    assert caught.value.code == "name"
    assert not session.progress()


def test_names_have_one_form():
    assert checked_name("  Zoe\u0308   B. 7 ") == "Zoë B. 7"
    assert checked_name("观察者 7") == "观察者 7"
    assert robot_name("7") == "robot-7"
    for seed in ("", "a b", "../", "x" * 21):
        with pytest.raises(ValueError, match="simulate=7"):
            robot_name(seed)


def test_unknown_observers_are_refused(session):
    for ask in (session.question, lambda who: session.vote(who, 0, "left", 1)):
        with pytest.raises(RefusedError) as caught:
            ask("nobody")
        assert caught.value.code == "unknown"


def test_viewing_is_written_down(session):
    facts = {"distance_mm": 458, "pixel_pitch_mm": 0.25, "browser": "b" * 999, "lux": -1, "x": 1}
    observer = session.begin("Anna", resume=False, viewing=facts)
    session.look_again(observer, facts)  # nothing new
    session.look_again(observer, {**facts, "device_pixel_ratio": 2})
    first, second = json.loads((session.place / "viewing.json").read_text())
    assert first["observer"] == "Anna"
    assert first["pixels_per_degree"] == pytest.approx(32, abs=0.1)
    assert len(first["browser"]) == 300
    assert not {"lux", "x"} & first.keys()
    assert second["device_pixel_ratio"] == 2


def test_viewing_keeps_what_is_possible():
    odd = {"lux": float("nan"), "distance_mm": float("inf"), "screen_width": True, "browser": 7}
    assert checked_viewing(odd) == {}
    # 0.25 mm at 458 mm
    assert pixels_per_degree(0.25, 458) == pytest.approx(32, abs=0.03)


def test_a_study_is_served_once(tmp_path):
    with serving(tmp_path) as tell:
        tell("http://127.0.0.1:1/")
        with (
            pytest.raises(ValueError, match="served already"),
            serving(tmp_path),
        ):
            pass
    with serving(tmp_path):
        pass


def test_robots_answer_by_quality_and_are_known_by_name(session):
    goodness = {"strong prior": 9.0, "gentle prior": 4.5, "untouched": 0.0, SPOILT: -9.0}
    assert run_robot(session, 7, lambda _, entrant: goodness[entrant]) == "robot-7"
    votes = votes_of(session)
    assert len(votes) == ALL
    assert {vote.observer for vote in votes} == {"robot-7"}
    right = [goodness[vote.winner] > goodness[vote.loser] for vote in votes]
    assert sum(right) >= ALL - 1  # 4.5 units are three sigma


def test_a_robot_goes_on_where_it_was(study, session):
    def indifferent(scene, entrant):
        return 0.0

    observer = session.begin_robot("7", {})
    answer(session, observer, 4)
    run_robot(session, 7, indifferent)
    other = Session(study, "other", SETTINGS)
    assert run_robot(other, 8, indifferent, slips=1.0) == "robot-8"
    assert len(votes_of(session)) == len(votes_of(other)) == ALL
