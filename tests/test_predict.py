"""The command that predicts: numbers against scikit-learn, files of any kind, every fault."""

import gzip
import json
import math
import re
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from test_render import persons

from lib import ROOT, BadInput, predict, theory
from lib.data.digits import IDX
from lib.predict import predict_data

TRAIN = ROOT / "data/digits/train-images-idx3-ubyte.gz"


def examples(n: int = 200, n_values: int = 60) -> np.ndarray:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, n_values)) * np.geomspace(3, 0.1, n_values)
    return x + rng.normal(size=n_values)


def saved(path, x) -> str:
    with path.open("wb") as file:  # np.save would add .npy to the name.
        np.save(file, x)
    return str(path)


def idx(x: np.ndarray) -> bytes:
    """An IDX file of an array of one of its types."""
    codes = {np.dtype(dtype): code for code, dtype in IDX.items()}
    return struct.pack(f">HBB{x.ndim}I", 0, codes[x.dtype], x.ndim, *x.shape) + x.tobytes()


def command(*arguments) -> subprocess.CompletedProcess:
    run = [sys.executable, "-m", "lib.predict", *map(str, arguments)]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("reduction", "unit"),  # unit: sigma2 at weight 1 for N = 60, K = 3
    [("mean-sum", 30), ("mean-mean", 10), ("sum-sum", 0.5), ("half-sum-sum", 1)],
)
def test_numbers_are_those_of_scikit_learn_and_the_closed_form(tmp_path, reduction, unit) -> None:
    x = examples()
    values = PCA(svd_solver="full").fit(x).explained_variance_ * 199 / 200
    sigma2 = values[2] * 1.01  # Two units live.
    data = saved(tmp_path / "x.npy", x.reshape(200, 6, 10))
    r = predict_data(data, 3, sigma2 / unit, reduction)
    assert np.allclose(r["eigenvalues"], values[:8])
    assert (r["examples"], r["n_values"], r["active"], r["collapse"]) == (200, 60, 2, False)
    expected = {
        "total": values.sum(),
        "sigma2": sigma2,
        "edge": values[0] / unit,
        "kl_nats": 0.5 * np.log(values[:2] / sigma2).sum(),
        "mse_mean": x.var(0).mean(),
        "mse_sampled": (2 * sigma2 + values[2:].sum()) / 60,
        "mse_mu": (sigma2**2 / values[0] + sigma2**2 / values[1] + values[2:].sum()) / 60,
        "calibrated": values[3:].mean() / unit,
    }
    assert {name: r[name] for name in expected} == pytest.approx(expected)
    assert predict_data(data, 3, r["edge"] * (1 + 1e-9), reduction)["collapse"]
    assert predict_data(data, 3, r["edge"] * (1 - 1e-9), reduction)["active"] == 1
    assert "2 of 3 units stay alive; sigma2 exceeds the eigenvalues of the other 1" in r["verdict"]


def test_the_gzipped_digits_are_the_digits() -> None:
    run = command(TRAIN, "--latents", 16, "--json")
    assert (run.returncode, run.stderr) == (0, "")
    r = json.loads(run.stdout)
    assert r["sigma2"] == 392 and r["active"] == r["kl_nats"] == 0
    assert r["mse_sampled"] == pytest.approx(r["mse_mean"])
    assert r["mse_mean"] == pytest.approx(0.06725, abs=1e-5)
    assert r["about"] == "uint8 from 0 to 255, scaled by 1/255"
    assert r["verdict"] == (
        "sigma2 = 392 exceeds lambda_1 = 5.12: every latent unit dies; the VAE will answer every "
        "input with the average. The edge is at beta = 0.0131, 77 times lower."
    )


BITS = (np.random.default_rng(0).random((200, 40)) > 0.5).astype("u1")
SCALES = {  # what the data hold: their factor, and the words for it
    "bits": (BITS, 1, "uint8 from 0 to 1, taken as they are"),
    "levels": (BITS * 15, 1, "uint8 from 0 to 15, taken as they are"),
    "pictures": (BITS * 255, 1 / 255, "uint8 from 0 to 255, scaled by 1/255"),
    "bools": (BITS > 0, 1, "bool, taken as 0 and 1"),
    "PCM": (BITS.astype("i2") * 3000, 1, "int16 from 0 to 3000, taken as they are; --scale"),
    "floats": (BITS * 255.0, 1, "float64, taken as they are"),
}


@pytest.mark.parametrize("case", SCALES)
def test_what_the_data_hold_decides_their_scale(tmp_path, case) -> None:
    x, factor, words = SCALES[case]
    data = saved(tmp_path / "x.npy", x)
    r = predict_data(data, 4)
    assert r["total"] == pytest.approx((x * float(factor)).var(0).sum())
    assert r["about"].startswith(words)
    asked = predict_data(data, 4, scale=2.0)
    assert asked["total"] == pytest.approx((x * 2.0).var(0).sum())
    assert asked["about"].endswith("scaled by 2 as asked")


def test_the_same_numbers_from_every_kind_of_file(tmp_path) -> None:
    import pandas as pd
    import torch

    x = examples(30, 5)
    np.savez(tmp_path / "one.npz", x=x)
    np.savez(tmp_path / "two.npz", x=x, y=x[:, :2])
    np.savetxt(tmp_path / "x.csv", x, delimiter=",")
    np.savetxt(tmp_path / "x.tsv", x, delimiter="\t")
    np.savetxt(tmp_path / "named.csv", x, delimiter=";", header="a;b;c;d;e", comments="")
    torch.save(torch.as_tensor(x), tmp_path / "x.pt")
    torch.save({"train": torch.as_tensor(x), "n": torch.ones(3, 3)}, tmp_path / "d.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pt")
    (tmp_path / "words.csv").write_text("a,b\n1,x\n2,y\n")
    table = pd.DataFrame(x)
    table.to_csv(tmp_path / "counted.csv", index=False)  # the names are 0 to 4
    table.to_csv(tmp_path / "index.csv")
    table.rename(columns="x{}".format).to_csv(tmp_path / "named_index.csv")
    torch.save(torch.nn.Parameter(torch.as_tensor(x)), tmp_path / "grad.pt")
    torch.save({"epoch": 3, "x": torch.as_tensor(x)}, tmp_path / "state.pt")
    torch.save([torch.as_tensor(x)], tmp_path / "list.pt")
    total = x.var(0).sum()
    same = (
        "one.npz",
        "two.npz?x",
        "x.csv",
        "x.tsv",
        "named.csv",
        "counted.csv",
        "x.pt",
        "d.pt?train",
    )
    for name in (*same, "grad.pt", "state.pt"):
        found = predict_data(str(tmp_path / name), 2)["total"]
        assert found == pytest.approx(total, rel=1e-6), name
    for name, words in {
        "two.npz": r"it holds x, y: write two.npz\?x",
        "two.npz?z": r"it holds x, y: write",
        "d.pt": r"write d.pt\?train",
        "net.pt": "more than tensors: write x with np.save",
        "list.pt": "holds a list and no tensor",
        "words.csv": "column 'b' is not of numbers",
        "index.csv": "write with index=False",
        "named_index.csv": "write with index=False",
    }.items():
        with pytest.raises(BadInput, match=words):
            predict_data(str(tmp_path / name), 2)


def test_another_loss_and_how_its_kl_is_coded(tmp_path) -> None:
    x = examples(300, 12)
    data = saved(tmp_path / "x.npy", x.reshape(300, 3, 4))
    expected = theory.edge("l1-mean", x).beta
    r = predict.predict_loss(data, 3, 1e-6, "l1-mean")
    assert r["edge"] == pytest.approx(expected) and r["edge_low"] < r["edge"]
    assert r["active"] == 3 and not r["collapse"] and "3 of 3 units pay" in r["verdict"]
    assert np.shape(r["first_direction"]) == (12,)
    between = predict.predict_loss(data, 3, (r["edge_use"] + r["edge"]) / 2, "l1-mean")
    assert "holds less than 0.05 nats" in between["verdict"]
    coded = {"kl": "mean", "kl_batch": 8, "kl_factor": 2.0}
    dead = predict.predict_loss(data, 3, 1.0, "l1-mean", coded=coded)
    assert dead["edge"] == pytest.approx(expected * 3 / 16)
    assert dead["collapse"] and "the average" in dead["verdict"]
    (tmp_path / "mine.py").write_text(
        "def mse(x_hat, x): return (x_hat - x).square().flatten(1).mean(1)"
    )
    own = predict.predict_loss(data, 3, 1.0, f"{tmp_path}/mine.py:mse")
    assert own["edge"] == pytest.approx(predict_data(data, 3)["edge"], rel=1e-4)
    given = predict.predict_loss(data, 3, 1.0, "mse-mean", saved(tmp_path / "c.npy", x[:, :2]))
    assert given["edge"] < own["edge"]
    run = command(data, "--latents", 3, "--loss", "huber-mean", "--json")
    assert run.returncode == 0 and json.loads(run.stdout)["edge"] > 0, run.stderr
    for wrong, words in (
        ("l1-men", "did you mean"),
        (f"{tmp_path}/mine.py:l1", "FILE.py:FUNCTION"),
    ):
        with pytest.raises(BadInput, match=words):
            predict.predict_loss(data, 3, 1.0, wrong)


def test_the_command_answers_in_words_and_loads_no_torch(tmp_path) -> None:
    data = saved(tmp_path / "x.npy", examples().astype(np.float32))
    run = command(data, "--latents", 5, "--beta", 1e-4, "--reduction", "sum-sum")
    assert (run.returncode, run.stderr) == (0, "")
    shown = dict(line.split(maxsplit=1) for line in run.stdout.splitlines())
    r = predict_data(data, 5, 1e-4, "sum-sum")
    assert shown.keys() == r.keys() and len(shown["eigenvalues"].split()) == 8
    assert shown["verdict"] == r["verdict"] and "5 of 5 units stay alive. The edge" in r["verdict"]
    assert shown["about"] == "float32, taken as they are"
    assert float(shown["edge"]) == pytest.approx(r["edge"], rel=1e-3)
    code = f"from lib import predict; predict.main([{data!r}, '--latents=2']); import sys; "
    code += "sys.exit(not {'torch', 'pydantic'}.isdisjoint(sys.modules))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


SHAPES = st.lists(st.integers(2, 5), min_size=2, max_size=4)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(IDX.values())), st.booleans(), SHAPES)
def test_an_idx_file_of_any_type_is_the_array(tmp_path_factory, dtype, packed, shape) -> None:
    """It is known by its content and not by its name; uint8 is scaled."""
    folder = tmp_path_factory.mktemp("idx")
    x = np.random.default_rng(0).integers(0, 127, shape).astype(dtype)
    if dtype == "u1":
        x.flat[0] = 255  # as a picture
    (folder / "x.npy").write_bytes(gzip.compress(idx(x)) if packed else idx(x))
    r, same = predict_data(str(folder / "x.npy"), 1), predict_data(saved(folder / "y.idx", x), 1)
    scaled = (x / (255 if dtype == "u1" else 1)).reshape(len(x), -1)
    assert r["total"] == pytest.approx(scaled.var(0).sum())
    assert r == same | {"data": r["data"], "about": r["about"]}


def test_k_components_that_leave_no_error_have_no_calibrated_weight(tmp_path) -> None:
    run = command(saved(tmp_path / "x.npy", examples(50, 6)), "--latents", 6)
    assert run.returncode == 0 and "calibrated   None" in run.stdout


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9),
    st.floats(1e-30, 1e30),
    st.sampled_from(sorted(theory.REDUCTIONS)),
    st.floats(1e-20, 1e20),
)
def test_every_answer_is_finite_and_in_order(tmp_path_factory, k, weight, reduction, scale) -> None:
    data = saved(tmp_path_factory.mktemp("any") / "x.npy", examples(20, 12) * scale)
    r, above = predict_data(data, k, weight, reduction), 1 + 1e-9
    json.dumps(r, allow_nan=False)
    assert 0 <= r["mse_mu"] <= r["mse_sampled"] * above <= r["mse_mean"] * above**2
    assert r["collapse"] == (r["active"] == 0)
    assert r["collapse"] or weight < r["edge"] * above
    assert math.isclose(theory.weight_of(reduction, r["sigma2"], 12, k), weight)


CONTENT = idx(np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
ARRAYS = {
    "nan": (np.array([[1.0, 2], [2, np.nan], [4, 5]]), "example 1 .* NaN or infinite"),
    "constant": (np.full((30, 7), 0.1), "all 30 examples are equal"),
    "one sample": (np.ones((1, 9)), r"shape \(1, 9\)"),
    "text": (np.array([["a", "b"], ["c", "d"]]), "<U1"),
    "objects": (np.array([[1, None], [2, 3]], dtype=object), "not readable .*Python objects"),
}
FILES = {
    "cut npy": (b"\x93NUMPY\x01\0v\0{'descr': '<f8', ", "not readable"),
    "empty": (b"", "not as .npy or IDX"),
    "long idx": (CONTENT + b"1", "promise 60 bytes of content, 61 are"),
    "cut gz": (gzip.compress(CONTENT)[:-12], "not readable"),
    "bomb": (gzip.compress(CONTENT + bytes(10**7)), "60 bytes of content, 61 are"),
    "honest bomb": (gzip.compress(b"\0\0\x08\2" + b"\xff" * 8), "gunzip it first"),
}


@pytest.mark.parametrize("fault", [*ARRAYS, *FILES, "missing"])
def test_bad_data_are_named(tmp_path, fault) -> None:
    path = tmp_path / "data"
    if fault in ARRAYS:
        x, message = ARRAYS[fault]
        saved(path, x)
    elif fault in FILES:
        content, message = FILES[fault]
        path.write_bytes(content)
    else:
        message = "No such file.*give a .npy, .npz, .csv, .pt or IDX"
    with pytest.raises(BadInput, match=f"(?s){path}: .*{message}"):
        predict_data(str(path), 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--latents 21", "--latents 21: 20 examples of 30 values .* allow 1 to 19"),
        ("--latents x", "--latents: invalid int value: 'x'"),
        ("--latents 2 --scale 0", "--scale 0.0: must be above 0 and finite"),
        ("--latents 2 --scale -1", "--scale -1.0: must be above 0 and finite"),
        ("--latents 2 --scale 1/0", "--scale: 1/0: .*write for example 1/255"),
        ("--latents 2 --scale nan", "--scale: invalid .* 'nan'"),
        ("--latents 2 --beta 0", "beta.* = 0.0: must be above 0"),
        ("--latents 2 --reduction mean-sun", "'mean-sun' is not known; did you mean \"mean-sum\""),
    ],
)
def test_bad_options_are_one_line(tmp_path, capsys, options, message) -> None:
    with pytest.raises(SystemExit) as caught:
        predict.main([saved(tmp_path / "x.npy", examples(20, 30)), *options.split()])
    out, err = capsys.readouterr()
    assert (caught.value.code, out, err.count("\n")) == (2, "", 1)
    assert re.search(message, err), err


def test_a_folder_of_sound_is_what_chapter_04_trains_on(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ARTIFACTS_DIR", str(tmp_path / "artifacts"))
    data = str(persons(tmp_path / "sounds", 16000, 3))
    r = predict_data(data, 4, clips=12)
    assert (r["examples"], r["n_values"]) == (12, 96 * 96)
    assert "dry clips of 2.03 s from all of it, log-mel 96 x 96 in dB, standardised" in r["about"]
    (path,) = (tmp_path / "artifacts/render").glob("*/spectrograms.npy")
    x = np.load(path).astype(np.float64).reshape(12, -1)
    oracle = PCA(4, svd_solver="full").fit((x - x.mean()) / x.std())
    assert np.allclose(r["eigenvalues"][:4], oracle.explained_variance_ * 11 / 12, rtol=1e-4)
    assert r["total"] == pytest.approx(x.var(0).sum() / x.var())
    assert "of 0.6 s" in predict_data(data, 4, clips=12, clip_s=0.6)["about"]
    with pytest.raises(BadInput, match="--clips 4: must be above --latents 4"):
        predict_data(data, 4, clips=4)
    with pytest.raises(BadInput, match="--scale 2: is for numbers"):
        predict_data(data, 4, clips=12, scale=2.0)
