"""What the slider and the explorer are given: numbers and pictures that went in, sounds that can be heard."""

import base64
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from lib import theory
from lib.audio import effects, levels
from lib.book import explorer, slider
from lib.book.parameters import BetweenEffects
from lib.data import clips, pairs
from lib.data.examples import SMALL
from lib.runtime import stages as artifacts

X = np.random.default_rng(0).normal(size=(90, 9, 10)) * 0.9 ** np.arange(10)


def payload(page: str) -> dict:
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert "<" not in text
    return json.loads(text)


def test_the_slider_gets_what_was_measured_and_what_was_predicted() -> None:
    found = theory.pca(X, 8)
    edge = theory.edge_beta(found.eigenvalues[0], 90)
    predicted = {
        "spectrum": found.eigenvalues,
        "total": found.total_variance,
        "values": 90,
        "edge": edge,
    }
    shown = np.linspace(0, 1, 3 * 90).reshape(3, 9, 10)
    stops = {
        beta: {"kl": 1 / beta, "active_units": 3, "mse": beta, "x_hat": shown * (1 - beta)}
        for beta in (0.5, 0.1)
    }
    given = slider.dataset("digits", "a < b", predicted, 1.5, 8, shown, "three <pictures>", stops)
    said = payload(slider.slider([given], 8).data)
    one = said["datasets"][0]
    assert (
        said["report_beta"] == 1
        and said["latents"] == 8
        and one["tile"] == [10, 9]
        and one["columns"] == 3
    )
    assert [stop["beta"] for stop in one["stops"]] == [0.1, 0.5] and one["stops"][0]["kl"] == 10
    for stop in one["stops"]:
        line = theory.predict(found.eigenvalues, found.total_variance, 90, 8, stop["beta"] * 45)
        assert stop["predicted"] == {
            "kl": line.kl_nats,
            "active_units": line.active,
            "mse": line.mse_mu,
        }
        picture = Image.open(io.BytesIO(base64.b64decode(stop["src"].partition(",")[2]))).convert(
            "L"
        )
        expected = np.hstack(shown * (1 - stop["beta"]))
        assert np.abs(np.array(picture) / 255 - expected).max() < 0.003


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    settings = BetweenEffects(
        corpora=("speech",),
        paired=True,
        latent=4,
        epochs=1,
        train_clips=4,
        test_clips=9,
        floor_db=-60.0,
        seed=1,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARTIFACTS_DIR", str(tmp_path_factory.mktemp("artifacts")))
        found, run = pairs.fit(settings, ("delay", "overdrive"))
        yield (
            found,
            run,
            explorer.explore(run.fitted, found["test"], ("speech",), ("delay", "overdrive"), 4, 3),
        )


def test_every_point_of_the_explorer_can_be_heard(explored) -> None:
    _, run, folder = explored
    table = pd.read_parquet(folder / "points.parquet")
    assert len(table) == 2 * 4 * 2 and set(table["split"]) == {"training", "never heard"}
    sides = table.groupby("split")["group"].agg(set)
    assert not sides["training"] & sides["never heard"]
    names = {f"dry-{clip}" for clip in range(8)} | {
        f"{kind}-{i}" for kind in ("wet", "drawn") for i in range(16)
    }
    assert {path.stem for path in folder.glob("*.mp3")} == names
    for name in names:
        audio, rate = soundfile.read(folder / f"{name}.mp3")
        assert rate == 24000 and abs(len(audio) / rate - 2.03) < 0.2
        assert levels.loudness(audio, rate) == pytest.approx(-23, abs=1), name
    with Image.open(folder / "thumbnails.webp") as picture:
        assert picture.size == (24 * 48, 2 * 48)  # 16 wet, then 16 drawn


def test_a_wet_sound_is_the_effect_at_the_settings_told(explored) -> None:
    table = pd.read_parquet(explored[2] / "points.parquet")
    row = table.iloc[5]
    given = {name.partition(".")[2]: row[name] for name in table.filter(like=f"{row['effect']}.")}
    dry, info = clips.Clips(clips.ClipConfig(corpus="speech", split="train", seed=3)).clip(
        int(row["clip"])
    )
    assert info["group"] == row["group"]
    wet = effects.apply_at(
        row["effect"], dry, SMALL.sample_rate_hz, **effects.normalise(row["effect"], given)
    )
    heard, _ = soundfile.read(explored[2] / "wet-5.mp3")
    spectra = [
        np.abs(np.fft.rfft(audio, 1 << 17))[:15000] for audio in (wet, heard)
    ]  # below 2.7 kHz: MP3 is coarse
    assert np.corrcoef(*spectra)[0, 1] > 0.95


def test_the_explorer_on_the_page_says_the_same_and_names_its_files(
    explored, capsys, monkeypatch
) -> None:
    folder, shown = explored[2], []
    monkeypatch.setattr(
        explorer, "display", lambda data, raw, metadata: shown.append((data, metadata))
    )
    explorer.show(folder, "near & far")
    ((data, metadata),) = shown
    assets = metadata["average_spectrogram_assets"]
    assert artifacts.root() / assets["folder"] == folder and assets["name"] == "explorer"
    said, table = payload(data["text/html"]), pd.read_parquet(folder / "points.parquet")
    assert said["columns"]["effect"] == table["effect"].tolist() and said["words"] == "near & far"
    assert np.allclose(said["columns"]["x"], table["x"], atol=6e-4)
    for i, settings in enumerate(said["columns"]["settings"]):
        effect = table["effect"][i]
        ranges = said["effects"][effect]["parameters"]
        assert settings.keys() == ranges.keys()
        assert {p.name: vars(p) for p in effects.find_effect(effect).parameters} == {
            name: {"name": name} | about for name, about in ranges.items()
        }
        for name, value in settings.items():
            assert ranges[name]["low"] * 0.999 <= value <= ranges[name]["high"] * 1.001
            assert value == pytest.approx(table[f"{effect}.{name}"][i], rel=1e-3)
