"""What users are told of a file that cannot be used."""

import time

import pytest

SECONDS = 2.0


def told(call, *words):
    """The one line of an error, which must come soon."""
    begin = time.process_time()
    with pytest.raises(ValueError, match=r"\w") as caught:
        call()
    assert time.process_time() - begin < SECONDS
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 900
    for word in words:
        assert word in text
    return text
