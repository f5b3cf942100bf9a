"""The texts of the nodes by language: all there, none left over."""

import json

import pytest

from .comfyui.build_locales import LOCALES, digests, inputs_of, locales, recorded

MADE = locales()


@pytest.mark.parametrize("language", sorted(MADE))
def test_a_locale_is_what_the_schemas_and_words_make(language):
    path = LOCALES / language / "nodeDefs.json"
    assert json.loads(path.read_text(encoding="utf-8")) == MADE[language], (
        "run python tests/comfyui/build_locales.py"
    )


@pytest.mark.parametrize("language", sorted(MADE))
def test_a_locale_has_the_keys_of_english(language):
    for name, texts in MADE["en"].items():
        other = MADE[language][name]
        assert other["inputs"].keys() == texts["inputs"].keys()
        assert other["outputs"].keys() == texts["outputs"].keys()
        assert other["display_name"]
        assert other["description"]
        for kind in ("inputs", "outputs"):
            for label, text in other[kind].items():
                assert text["name"], (name, label)
                assert text["tooltip"], (name, label)


@pytest.mark.parametrize("language", sorted(MADE))
def test_no_text_holds_what_the_frontend_reads_as_its_own_syntax(language):
    """It shows a title only up to the first bar: the rest is the plural."""
    for name, texts in MADE[language].items():
        assert not set("|{}@") & set(json.dumps(every_text(texts), ensure_ascii=False)), name


def every_text(texts: dict | str) -> list[str]:
    if isinstance(texts, str):
        return [texts]
    return [text for part in texts.values() for text in every_text(part)]


def test_no_word_is_left_over():
    nodes = recorded()
    used = {
        entry[0] for node in nodes.values() for group in node["inputs"].values() for entry in group
    }
    used |= {label for node in nodes.values() for label in node["output_name"]}
    for path in LOCALES.glob("*/words.json"):
        words = json.loads(path.read_text(encoding="utf-8"))
        assert set(words["names"]) == used, path
        assert set(words["nodes"]) == set(nodes), path


def test_no_tooltip_is_missing_or_left_over():
    nodes = recorded()
    for path in LOCALES.glob("*/tooltips.json"):
        tooltips = json.loads(path.read_text(encoding="utf-8"))
        assert set(tooltips) == set(nodes), path
        for name, said in tooltips.items():
            assert set(said["inputs"]) == {label for label, *_ in inputs_of(nodes[name])}, name
            assert len(said["outputs"]) == len(nodes[name]["output_name"]), name


@pytest.mark.parametrize("language", sorted(MADE.keys() - {"en"}))
def test_no_text_has_changed_since_it_was_translated(language):
    path, now = LOCALES / language / "translated.json", digests(MADE["en"])
    seen = json.loads(path.read_text(encoding="utf-8"))
    changed = [place for place in now if seen.get(place) != now[place]]
    assert not changed, (
        "look at their translations, then run python tests/comfyui/build_locales.py --translated"
    )
    assert seen.keys() == now.keys()
