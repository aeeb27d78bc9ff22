"""Players: one hears what was given, and the HTML is safe, labelled and small."""

import base64
import io
import re

import numpy as np
import pytest
import soundfile
from bs4 import BeautifulSoup

from lib.book.players import mp3, player, players

RATE = 24000


def tone(seconds: float = 2.0, level: float = 0.1) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


@pytest.mark.parametrize("level", [0.02, 0.1, 0.9])
def test_mp3_keeps_length_level_and_pitch(level: float) -> None:
    audio, rate = soundfile.read(io.BytesIO(mp3(tone(level=level), RATE)))
    assert rate == RATE and len(audio) == 2 * RATE
    assert np.sqrt(np.mean(audio**2)) == pytest.approx(level / np.sqrt(2), rel=0.03)
    assert np.argmax(np.abs(np.fft.rfft(audio))) / 2.0 == pytest.approx(440, abs=1)


def test_player_says_what_it_plays_and_stops_the_others() -> None:
    page = BeautifulSoup(player(tone(), RATE, "A voice, delay", "A low tone.").data, "html.parser")
    audio = page.audio
    assert audio["aria-label"] == "A voice, delay"
    assert audio["preload"] == "none" and audio.has_attr("controls")
    assert "pause()" in audio["onplay"] and "querySelectorAll('audio')" in audio["onplay"]
    assert "A voice, delay" in page.text and "A low tone." in page.text
    data = base64.b64decode(re.fullmatch("data:audio/mpeg;base64,(.+)", audio["src"])[1])
    assert soundfile.info(io.BytesIO(data)).frames == 2 * RATE


def test_labels_are_escaped_and_a_grid_holds_all_players() -> None:
    bad = '"><script>alert(1)</script>'
    page = BeautifulSoup(players([player(tone(0.2), RATE, bad, bad)] * 3).data, "html.parser")
    assert [audio["aria-label"] for audio in page("audio")] == [bad] * 3 and not page.script
