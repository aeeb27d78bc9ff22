"""Calculator, slider and explorer get what went in, and every sound of the map can be heard."""

import base64
import dataclasses
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
from lib.book import explorer, widgets
from lib.data import clips
from lib.data.examples import SMALL, paired_splits
from lib.runtime import stages
from lib.vae.config import TrainingConfig
from lib.vae.training import train

X = np.random.default_rng(0).normal(size=(90, 9, 10)) * 0.9 ** np.arange(10) + 3
PCA = theory.pca(X, 70)
PICTURES = {"one": X[0], "</script><b>&": X[1].astype(np.float32), "flat": np.zeros((9, 10))}


def payload(html: str) -> dict:
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert "<" not in text and html.count("</script>") == 1
    return json.loads(text)


def unpacked(packed: dict, kind: type) -> np.ndarray:
    """Read as book/_static/calculator.js does: offset + scale * byte."""
    values = np.frombuffer(base64.b64decode(packed["data"]), kind).astype(float)
    return packed["offset"] + packed["scale"] * values


def test_the_calculator_decodes_to_what_went_in() -> None:
    dataset = widgets.calculator_dataset("blobs", "a < b", PCA, 90, (9, 10), PICTURES, lower=True)
    page = payload(widgets.calculator([dataset, dataset | {"key": "again"}], latents=12).data)
    defaults = {"dataset": "blobs", "reduction": "mean-sum", "beta": 1.0, "latents": 12}
    assert page["defaults"] == defaults
    one, again = page["datasets"]
    assert (one["key"], one["name"], again["key"]) == ("blobs", "a < b", "again")
    assert (one["n_values"], one["examples"], one["shape"]) == (90, 90, [9, 10])
    assert one["eigenvalues"] == PCA.eigenvalues[:64].tolist()
    assert (one["total"], one["origin"]) == (PCA.total_variance, "lower")
    packed = [
        (one["mean"], np.uint8, PCA.mean),
        (one["components"], np.int8, PCA.components[:64].ravel()),
    ]
    for picture in one["pictures"]:
        exact = np.asarray(PICTURES[picture["name"]], np.float64).ravel()
        packed.append((picture["data"], np.uint8, exact))
        assert picture["coefficients"] == (PCA.components[:64] @ (exact - PCA.mean)).tolist()
    assert len(packed) == 5
    for data, kind, exact in packed:
        assert np.abs(unpacked(data, kind) - exact).max() <= 0.5001 * data["scale"]
        steps = 127 if kind is np.int8 else 255
        assert np.ptp(exact) == 0 or data["scale"] <= 1.001 * np.ptp(exact) / steps


def test_the_slider_gets_what_was_measured_and_what_was_predicted() -> None:
    edge = theory.edge_beta(PCA.eigenvalues[0], 90)
    total = PCA.total_variance
    shown, stops = np.linspace(0, 1, 3 * 90).reshape(3, 9, 10), {}
    for beta in (0.5, 0.1):
        x_hat = shown * (1 - beta)
        stops[beta] = {"kl": 1 / beta, "active_units": 3, "mse": beta, "x_hat": x_hat}
    dataset = widgets.slider_dataset(
        "digits", "a < b", PCA, 1.5, 8, shown, "three <pictures>", stops
    )
    page = payload(widgets.slider([dataset], 8).data)
    (one,) = page["datasets"]
    assert (page["report_beta"], page["latents"]) == (1, 8)
    assert (one["tile"], one["columns"], one["edge"]) == ([10, 9], 3, edge)
    assert [stop["beta"] for stop in one["stops"]] == [0.1, 0.5]
    for stop in one["stops"]:
        line = theory.predict(PCA.eigenvalues, total, 90, 8, stop["beta"] * 45)
        expected = {"kl": line.kl_nats, "active_units": line.active, "mse": line.mse_mu}
        assert stop["predicted"] == expected
        assert stop["kl"] == 1 / stop["beta"] and stop["mse"] == stop["beta"]
        file = io.BytesIO(base64.b64decode(stop["src"].partition(",")[2]))
        pixels = np.array(Image.open(file).convert("L")) / 255
        assert np.abs(pixels - np.hstack(shown * (1 - stop["beta"]))).max() < 0.003


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    preset = "conditional_spectrogram_paired"
    config = TrainingConfig(preset=preset, latent=4, epochs=1, loss="calibrated", batch_size=16)
    names = ("delay", "overdrive")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARTIFACTS_DIR", str(tmp_path_factory.mktemp("artifacts")))
        pairs, data = paired_splits(("speech",), names, 4, 9, 1, -60.0)
        run = train(config, data)
        yield explorer.explore(run, pairs["test"], ("speech",), names, 4, 3)


def test_every_point_of_the_explorer_can_be_heard(explored) -> None:
    table = pd.read_parquet(explored / "points.parquet")
    assert len(table) == 2 * 4 * 2 and set(table["split"]) == {"training", "never heard"}
    groups = table.groupby("split")["group"].agg(set)
    assert not groups["training"] & groups["never heard"]
    names = {f"dry-{clip}" for clip in range(8)}
    names |= {f"{kind}-{i}" for kind in ("wet", "drawn") for i in range(16)}
    assert {path.stem for path in explored.glob("*.mp3")} == names
    for name in names:
        audio, rate = soundfile.read(explored / f"{name}.mp3")
        assert rate == 24000 and abs(len(audio) / rate - 2.03) < 0.2
        assert levels.loudness(audio, rate) == pytest.approx(-23, abs=1), name
    with Image.open(explored / "thumbnails.webp") as picture:
        assert picture.size == (24 * 48, 2 * 48)  # 16 wet, then 16 reconstructions


def test_a_wet_sound_is_the_effect_at_the_settings_of_its_row(explored) -> None:
    row = pd.read_parquet(explored / "points.parquet").iloc[5]
    effect = row["effect"]
    values = {p.name: row[f"{effect}.{p.name}"] for p in effects.find_effect(effect).parameters}
    config = clips.ClipConfig(corpus="speech", split="train", seed=3)
    dry, info = clips.Clips(config)[int(row["clip"])]
    assert info["group"] == row["group"]
    wet = effects.find_effect(effect).apply(dry, SMALL.sample_rate_hz, **values)
    audio, _ = soundfile.read(explored / "wet-5.mp3")
    spectra = [np.abs(np.fft.rfft(x, 1 << 17))[:15000] for x in (wet, audio)]  # MP3 is coarse above
    assert np.corrcoef(*spectra)[0, 1] > 0.95


def test_the_explorer_on_the_page_says_the_same_and_names_its_files(explored, monkeypatch) -> None:
    shown = []

    def display(data, raw, metadata):
        shown.append((data, metadata["average_spectrogram_assets"]))

    monkeypatch.setattr(explorer, "display", display)
    explorer.show(explored, "near & far")
    ((data, assets),) = shown
    assert stages.root() / assets["folder"] == explored and assets["name"] == "explorer"
    page, table = payload(data["text/html"]), pd.read_parquet(explored / "points.parquet")
    assert page["columns"]["effect"] == table["effect"].tolist() and page["words"] == "near & far"
    assert np.allclose(page["columns"]["x"], table["x"], atol=6e-4)
    for i, settings in enumerate(page["columns"]["settings"]):
        effect = table["effect"][i]
        ranges = page["effects"][effect]["parameters"]
        parameters = effects.find_effect(effect).parameters
        assert settings.keys() == ranges.keys() == {p.name for p in parameters}
        for p in parameters:
            assert dataclasses.asdict(p) == {"name": p.name} | ranges[p.name]
            assert p.low * 0.999 <= settings[p.name] <= p.high * 1.001
            assert settings[p.name] == pytest.approx(table[f"{effect}.{p.name}"][i], rel=1e-3)
