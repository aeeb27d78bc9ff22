"""Players: one hears what was given, and the HTML is safe, labelled and small."""

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


def tone(seconds: float = 2.0, level: float = 0.1) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


class Page(HTMLParser):
    """Tags with their attributes, and the text, of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("level", [0.02, 0.1, 0.9])
def test_mp3_keeps_length_level_and_pitch(level: float) -> None:
    audio, rate = soundfile.read(io.BytesIO(mp3(tone(level=level), RATE)))
    assert rate == RATE and len(audio) == 2 * RATE
    assert np.sqrt(np.mean(audio**2)) == pytest.approx(level / np.sqrt(2), rel=0.03)
    assert np.argmax(np.abs(np.fft.rfft(audio))) / 2.0 == pytest.approx(440, abs=1)


def test_two_seconds_of_noise_are_small() -> None:
    assert len(mp3(np.random.default_rng(0).normal(0, 0.07, 2 * RATE), RATE)) < 16_000


def test_player_says_what_it_plays_and_stops_the_others() -> None:
    page = Page(player(tone(), RATE, "A voice, delay", "A low tone.").data)
    figure, audio = dict(page.tags)["figure"], dict(page.tags)["audio"]
    assert figure["class"] == "player" and audio["aria-label"] == "A voice, delay"
    assert audio["preload"] == "none" and "controls" in audio
    assert "pause()" in audio["onplay"] and "querySelectorAll('audio')" in audio["onplay"]
    assert "A voice, delay" in page.text and "A low tone." in page.text
    data = base64.b64decode(re.fullmatch("data:audio/mpeg;base64,(.+)", audio["src"])[1])
    assert soundfile.info(io.BytesIO(data)).frames == 2 * RATE


def test_labels_are_escaped_and_a_grid_holds_all_players() -> None:
    bad = '"><script>alert(1)</script>'
    page = Page(players([player(tone(0.2), RATE, bad, bad)] * 3).data)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("audio") == 3 and "script" not in tags
    assert dict(page.tags)["audio"]["aria-label"] == bad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mp3(np.zeros((2, 10)), RATE), r"shape \(2, 10\)"),
        (lambda: mp3(np.full(10, np.nan), RATE), "finite"),
    ],
)
def test_mistakes_are_named(call, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        call()
