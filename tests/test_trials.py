import random
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latent_map.comparison.session_settings import SessionSettings
from latent_map.comparison.trials import (
    Material,
    Pair,
    oriented,
    plan_trials,
    read_trials,
    write_trials,
)
from latent_map.comparison.votes import SPOILT


@st.composite
def materials(draw):
    """Any number of pictures for each pair of two to six entrants, also none for some pairs."""
    names = [f"entrant {letter}" for letter in "abcdef"[: draw(st.integers(2, 6))]]
    pairs = [
        Pair(f"picture {number}", a, b)
        for a, b in combinations(names, 2)
        for number in range(draw(st.integers(0, 5)))
    ]
    pairs = pairs or [Pair("picture 0", *names[:2])]
    return Material(
        pairs=tuple(draw(st.permutations(pairs))),
        training=tuple(Pair(f"other {number}", *names[:2]) for number in range(4)),
        traps=tuple((pair.scene, pair.a) for pair in pairs[:5]),
    )


any_settings = st.builds(
    SessionSettings,
    seed=st.integers(0, 2**40),
    training=st.integers(0, 10),
    traps=st.integers(0, 12),
    repeats=st.sampled_from([0.0, 0.05, 0.2, 0.5]),
    both_orders=st.booleans(),
    trials=st.none() | st.integers(1, 30),
)


def of_kind(trials, kind):
    return [trial for trial in trials if trial.kind == kind]


def on_the_left(trial):
    return trial.pair.a if trial.side == "left" else trial.pair.b


def on_the_right(trial):
    return trial.pair.b if trial.side == "left" else trial.pair.a


@given(materials(), any_settings, st.integers(0, 30))
def test_every_entrant_is_on_the_left_half_of_the_time(material, chosen, number):
    study = of_kind(plan_trials(material, chosen, number), "study")
    left, right = Counter(map(on_the_left, study)), Counter(map(on_the_right, study))
    assert all(abs(left[name] - right[name]) <= 1 for name in left | right)


@given(materials(), any_settings, st.integers(1, 9))
@settings(deadline=None)
def test_every_picture_of_a_pair_is_on_the_left_for_half_of_the_observers(material, chosen, count):
    left, asked = Counter(), Counter()
    for number in range(count):
        for trial in of_kind(plan_trials(material, chosen, number), "study"):
            left[trial.pair] += 1 if trial.side == "left" else -1
            asked[trial.pair] += 1
    assert all(abs(value) <= 1 for value in left.values())
    # On their round through the pairs two observers share a turn.
    times = [asked[pair] for pair in material.pairs]
    assert max(times) - min(times) <= (4 if chosen.both_orders else 2)


@given(materials(), any_settings, st.integers(0, 30))
def test_a_list_asks_all_that_was_ordered(material, chosen, number):
    trials = plan_trials(material, chosen, number)
    study = Counter(trial.pair for trial in of_kind(trials, "study"))
    count = min(chosen.trials or len(material.pairs), len(material.pairs))
    assert len(study) == count
    assert set(study.values()) == {2 if chosen.both_orders else 1}
    assert set(study) <= set(material.pairs)
    assert len(of_kind(trials, "training")) == chosen.training
    assert len(of_kind(trials, "trap")) == chosen.traps
    wanted, early = round(chosen.repeats * study.total()), int(0.4 * study.total())
    assert len(of_kind(trials, "repeat")) == min(wanted, early)
    assert [trial.number for trial in trials] == list(range(len(trials)))


@given(materials(), any_settings, st.integers(0, 30))
def test_training_comes_first_and_no_trap_right_after_it(material, chosen, number):
    kinds = [trial.kind for trial in plan_trials(material, chosen, number)]
    assert set(kinds[: chosen.training]) <= {"training"}
    assert "training" not in kinds[chosen.training :]
    assert kinds[chosen.training] == "study"


@given(materials(), any_settings, st.integers(0, 30))
def test_a_repeat_comes_later_with_its_sides_exchanged(material, chosen, number):
    trials = plan_trials(material, chosen, number)
    for again in of_kind(trials, "repeat"):
        first = [t for t in trials[: again.number] if t.kind == "study" and t.pair == again.pair]
        assert any(trial.side != again.side for trial in first)
        between = [
            trial for trial in trials[first[0].number + 1 : again.number] if trial.kind == "study"
        ]
        assert between


@given(materials(), any_settings, st.integers(0, 30))
def test_traps_are_spread_and_take_both_sides(material, chosen, number):
    trials = plan_trials(material, chosen, number)
    traps = of_kind(trials, "trap")
    assert all(trial.pair.b == SPOILT for trial in traps)
    left = sum(trial.side == "left" for trial in traps)
    assert abs(2 * left - len(traps)) <= 1
    asked = [trial for trial in trials if trial.kind != "training"]
    if len(asked) >= 4 * len(traps) > 0:  # so many that every stretch has some
        halves = asked[: len(asked) // 2], asked[len(asked) // 2 :]
        counts = [len(of_kind(half, "trap")) for half in halves]
        assert abs(counts[0] - counts[1]) <= 2


@given(materials(), any_settings, st.integers(0, 30))
def test_a_list_follows_from_the_seed_and_the_number(material, chosen, number):
    assert plan_trials(material, chosen, number) == plan_trials(material, chosen, number)


def test_observers_and_seeds_have_orders_of_their_own():
    pairs = tuple(Pair(f"picture {number}", "a", "b") for number in range(40))
    material = Material(pairs, pairs[:6], (("picture 1", "a"),))
    orders = {
        tuple(trial.pair for trial in plan_trials(material, SessionSettings(seed=seed), number))
        for seed in range(5)
        for number in range(10)
    }
    assert len(orders) == 50


def test_sides_are_even_over_many_lists():
    pairs = tuple(Pair(f"{number}", "a", "b") for number in range(7))
    material = Material(pairs, (), ())
    chosen = SessionSettings(training=0, traps=0, repeats=0)
    left = Counter(
        trial.pair
        for number in range(0, 800, 2)  # only one of each two that mirror one another
        for trial in plan_trials(material, chosen, number)
        if trial.side == "left"
    )
    assert all(140 < left[pair] < 260 for pair in pairs)  # six sigma about 200


def test_an_orientation_by_hand():
    edges = [("a", "b"), ("b", "c"), ("c", "a"), ("a", "b"), ("a", "b")]
    for seed in range(50):
        first = oriented(edges, random.Random(seed))
        left = Counter(a if side else b for (a, b), side in zip(edges, first, strict=True))
        # a and b stand in four pairs and are left twice, c in two and once
        assert left == {"a": 2, "b": 2, "c": 1}


def test_without_pairs_there_is_nothing_to_ask():
    with pytest.raises(ValueError, match="study select"):
        plan_trials(Material((), (), ()), SessionSettings(), 0)


def test_lists_are_read_as_they_were_written(tmp_path):
    pairs = tuple(Pair(f'picture "{number}", one', "á", "b") for number in range(9))
    material = Material(pairs, pairs[:2], (("picture", "b"),))
    lists = {
        name: (number, plan_trials(material, SessionSettings(), number))
        for number, name in enumerate(["Anna", "Bo, the second"])
    }
    write_trials(tmp_path / "trials.csv", lists)
    assert read_trials(tmp_path / "trials.csv") == lists


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("left", "up", 1),
        lambda text: text.replace("study", "steady", 1),
        lambda text: text.replace("trial", "trail", 1),
        lambda text: text[: len(text) // 2],
        lambda text: "\n".join(text.splitlines()[:3] + text.splitlines()[4:]),
        lambda text: text.replace(",0,", ",x,", 1),
        lambda text: text.replace("picture 3", "../../picture 3"),
    ],
)
def test_a_list_that_was_edited_is_refused(tmp_path, spoil):
    pairs = tuple(Pair(f"picture {number}", "a", "b") for number in range(9))
    trials = plan_trials(Material(pairs, (), ()), SessionSettings(training=0, traps=0), 0)
    file = tmp_path / "trials.csv"
    write_trials(file, {"Anna": (0, trials)})
    file.write_text(spoil(file.read_text()))
    with pytest.raises(ValueError, match="no list of trials"):
        read_trials(file)


@pytest.mark.parametrize(
    "chosen",
    [{"training": 11}, {"traps": -1}, {"repeats": 0.6}, {"break_every": 1}, {"trials": 0}],
)
def test_settings_out_of_range_are_refused(chosen):
    with pytest.raises(ValueError, match=f"{next(iter(chosen))} is .* give a value from"):
        SessionSettings(**chosen)
