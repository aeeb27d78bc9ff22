"""Players: what is heard is what was given, and the HTML is safe, labelled and small."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from lib import BadInput
from lib.book.players import mp3, player, players

RATE = 24000


def tone(hz: float = 440.0, seconds: float = 2.0, level: float = 0.1) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(
        np.float32
    )


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("level", [0.02, 0.1, 0.9])
def test_mp3_keeps_length_level_and_pitch(level: float) -> None:
    heard, rate = soundfile.read(io.BytesIO(mp3(tone(level=level), RATE)))
    assert rate == RATE and len(heard) == 2 * RATE
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(
        level / np.sqrt(2), rel=0.03
    )  # the level as given
    assert np.argmax(np.abs(np.fft.rfft(heard))) / 2.0 == pytest.approx(440, abs=1)


def test_two_seconds_of_noise_are_small() -> None:
    noise = np.random.default_rng(0).normal(0, 0.07, 2 * RATE)
    assert len(mp3(noise, RATE)) < 16_000


def test_player_says_what_it_plays_and_stops_the_others() -> None:
    page = Tags(player(tone(), RATE, "A voice, delay", "A low tone.").data)
    audio = dict(page.found)["audio"]
    assert dict(page.found)["figure"]["class"] == "player"
    assert (
        audio["aria-label"] == "A voice, delay"
        and audio["preload"] == "none"
        and "controls" in audio
    )
    assert "pause()" in audio["onplay"] and "querySelectorAll('audio')" in audio["onplay"]
    assert "A voice, delay" in page.text and "A low tone." in page.text
    data = base64.b64decode(re.fullmatch("data:audio/mpeg;base64,(.+)", audio["src"])[1])
    assert soundfile.info(io.BytesIO(data)).frames == 2 * RATE


def test_labels_are_escaped() -> None:
    bad = '"><script>alert(1)</script>'
    page = Tags(player(tone(seconds=0.2), RATE, bad, bad).data)
    assert (
        "script" not in [tag for tag, _ in page.found]
        and dict(page.found)["audio"]["aria-label"] == bad
    )


def test_grid_holds_all_players() -> None:
    items = [player(tone(seconds=0.2), RATE, f"tone {i}") for i in range(3)]
    assert [tag for tag, _ in Tags(players(items).data).found].count("audio") == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mp3(np.zeros((2, 10)), RATE), r"shape \(2, 10\)"),
        (lambda: mp3(np.zeros(0), RATE), "audio: shape"),
        (lambda: mp3(np.full(10, np.nan), RATE), "nan"),
        (lambda: mp3(np.zeros(10), 12345), "sample_rate_hz: 12345"),
        (lambda: players([]), "items"),
    ],
)
def test_mistakes_are_named(call, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        call()
