# %% [markdown]
# # What lies between two effects?
#
# [The page before](12_latent_space) trained a VAE whose code should describe an audio effect and not the clip. Can one walk from one effect to another through its latent space, and can one copy an effect from
# clip to clip?
#
# Yes, within limits. On one clip, the way from delay to overdrive is gradual. Four of the five effects can be copied to a clip of another person or song, though only roughly. The flanger cannot: its {term}`trace <Trace>` hardly shows in
# these coarse spectrograms.
#
# ```{glue:figure} key-13
# :name: fig-key-13
# :alt: Seven spectrograms. From left to right the tails in the pauses fade and the high bands become brighter.
#
# From delay to overdrive on one clip: the effects themselves at both ends, and between them what the decoder draws at five points of the straight line between the two codes. Frequency in Hz over time in s;
# the colour is the level in standard deviations of the training set (*standardised dB*).
# ```
#
# ```{admonition} This page
# :class: tip
# **In**: the model {eq}`eq-told-picture` of the [page before](12_latent_space), which draws a wet spectrogram from a dry one and a code $z$ of the effect. **Out**: effects between
# effects, one clip's effect on another clip, and the way from clip to clip under one effect, as spectrograms and as sound. **Time**: half a minute on one CPU core if the page before was run, otherwise as
# long as that page. **Number to expect**: when an effect is copied to a test clip, the decoder's squared error is about half of the dry clip's, in the mean over the five effects.
# ```

# %% tags=["parameters"]
corpora: list = ["speech", "music"]  # trained on together; folder:<path>
paired: bool = True  # the encoder sees the dry clip, too
latent: int = 32  # number of latent units
epochs: int = 12  # passes over the training clips
train_clips: int = 60  # clips of each effect and corpus in the training set
test_clips: int = 30  # per effect and corpus; a third validates
floor_db: float = -60.0  # lower values of a spectrogram are set to it, dB
seed: int = 1  # seed of clips, settings, weights, order, latent noise

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from lib import vae
from lib.audio.effects import REPORT_ORDER, apply_at, find_effect
from lib.audio.levels import level, loudness
from lib.book import figures, page, players
from lib.data.examples import SMALL, paired_splits
from lib.data.rendering import Rendering

parameters = page.begin("13_between_effects", globals())
rate_hz = SMALL.sample_rate_hz

# %% [markdown]
# ## The model
#
# Data, net and training are exactly those of [the page before](12_latent_space), which explains them line by line. The cell is folded here. With equal parameters the finished training is loaded from disk. `encode_all` returns means and
# log-variances; the means, `mu`, are the codes.

# %% tags=["hide-input"]
pairs, splits = paired_splits(
    parameters.corpora,
    REPORT_ORDER,
    parameters.train_clips,
    parameters.test_clips,
    parameters.seed,
    parameters.floor_db,
)
preset = "conditional_spectrogram"
if parameters.paired:
    preset = "conditional_spectrogram_paired"
config = vae.TrainingConfig(
    preset=preset,
    latent=parameters.latent,
    loss="calibrated",
    learning_rate=6e-3,
    batch_size=16,
    epochs=parameters.epochs,
    seed=parameters.seed,
)

# %%
model = vae.train(config, splits).model()
test = pairs["test"]
wet, dry = test.x  # (clip, 1, band, frame) each
mu = torch.from_numpy(vae.encode_all(model, test.data)[0])  # (clip, latent)

# %% [markdown]
# ## Between two effects
#
# We put one dry test clip through delay and through overdrive, which gives two codes, and walk along the straight line between them. We expect a gradual way: at every step the drawn spectrogram is farther from that of the delay and nearer to that of the overdrive.
# The settings are positions in the ranges of the controls, from 0 to 1; controls that are not named stand at 0.5.

# %%
clip = test.parts[0].dry(1)  # (sample,), by a person of the test set
DELAY = {"delay_ms": 0.7, "feedback": 0.6, "mix": 0.8}
OVERDRIVE = {"drive_db": 0.7, "muffle_hz": 0.8}
delayed = apply_at("delay", clip, rate_hz, **DELAY)
driven = apply_at("overdrive", clip, rate_hz, **OVERDRIVE)

# %% [markdown]
# `test.picture` makes the spectrogram of a sound. The encoder takes one array, the wet bands followed by the dry ones, and the mean $\mu$ that it gives is the code. Five codes lie at equal distances on the straight line, and the decoder
# gets each with the same dry spectrogram.

# %%
x_clip = test.picture(clip)
x_delayed, x_driven = test.picture(delayed), test.picture(driven)
weights = torch.linspace(0, 1, 5)[:, None]  # 0: delay, 1: overdrive
with torch.inference_mode():
    z_delay = model.encode(torch.cat([x_delayed, x_clip], 2))[0]
    z_drive = model.encode(torch.cat([x_driven, x_clip], 2))[0]
    z = (1 - weights) * z_delay + weights * z_drive
    between = model.decode(z, x_clip.expand(5, -1, -1, -1))

# %% [markdown]
# At every step we measure the distance to the first drawn spectrogram and the distance to the last. A distance here is a mean squared difference, in units of the training set's variance. It is squared. So a spectrogram exactly midway between two others is a quarter of their distance from each. (`between[[0]]` is the first step as a batch of one.)


# %%
def error(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Mean squared difference of each clip, (clip,)."""
    return (a - b).square().flatten(1).mean(1).numpy()


to_delay, to_drive = error(between, between[[0]]), error(between, between[[4]])


# %% tags=["hide-input"]
def strip(axes: np.ndarray, pictures: dict, name: str = "") -> None:
    """A row of spectrograms (1, band, frame) by title, on one colour scale."""
    low, high = figures.limits(wet.numpy())
    for ax, (title, values) in zip(axes, pictures.items(), strict=True):
        image = figures.show_spectrogram(
            ax, values[0], SMALL, low, high, title
        )
        ax.label_outer()
    axes[0].set_ylabel(f"{name}frequency / Hz")
    figures.colour_bar(ax.figure, image, axes, "standardised dB")


# %% tags=["nbval-ignore-output", "hide-input"] mystnb={"figure": {"name": "fig-between", "caption": "From delay to overdrive on one test clip: the effects themselves at the ends, and between them the decoder's spectrogram at five points of the straight line between the two codes. The number is the weight of the overdrive's code. One colour scale, standardised dB."}, "image": {"alt": "Seven spectrograms. From left to right the tails in the pauses fade and the high bands become brighter."}}
steps = weights[:, 0].tolist()
pictures = {"delay itself": x_delayed[0]}
for w, picture in zip(steps, between, strict=True):
    pictures[f"overdrive {w:.2f}"] = picture
pictures["overdrive itself"] = x_driven[0]
figure, axes = plt.subplots(1, 7, figsize=(11, 2.5), sharey=True)
strip(axes, pictures)
page.key_figure(figure)
plt.show()

# %% tags=["nbval-ignore-output", "hide-input"]
page.record("between.ends", to_delay[4])
page.record("between.midway_to_delay", to_delay[2])
page.record("between.midway_to_overdrive", to_drive[2])

# %% [markdown]
# **What we see.** The decoder's own two ends differ by {glue:text}`between.ends:.3f`. The spectrogram midway is {glue:text}`between.midway_to_delay:.3f` from the delay and
# {glue:text}`between.midway_to_overdrive:.3f` from the overdrive, so it lies between them. The ends themselves are only approximations: compare the second spectrogram with the first, and the sixth with the last. The decoder turns the echoes into a smooth tail, in which single echoes are lost. We think this is because the code acts on every frame alike.
#
# ## From one clip to another
#
# If $z$ holds nothing of its clip, the effect can be copied. The *reference* is a wet test clip. The *target* is a dry clip of another person or song. The decoder gets the reference's code and the
# target's dry spectrogram. Here we know the truth: the effect itself, at the reference's settings, on the target's sound.
#
# `part` is the test set of one corpus. Its table has a row for each clip, with the effect, the person or song (`group`), and each control, between 0 and 1, in a column `effect.control`.


# %%
def true_copy(part: Rendering, reference: int, target: int) -> np.ndarray:
    """The target's dry clip under the reference's effect and settings."""
    row = part.table.loc[reference]
    setting = {}
    for control in find_effect(row["effect"]).parameters:
        setting[control.name] = row[f"{row['effect']}.{control.name}"]
    return apply_at(row["effect"], part.dry(target), rate_hz, **setting)


# %% [markdown]
# The pairing: for each corpus and effect, the first third of the test clips are references. Each gets one target among the clips of the same corpus by other persons or songs. The target is clip number $7r$ of this list, counted round. The 7 only spreads the targets.
#
# Row numbers count within a corpus. `wet`, `dry` and `mu` hold the corpora one after the other, so there we add `start`, the number of rows in the corpora before.

# %%
copies, truth = [], []
start = 0
for part in test.parts:
    table = part.table
    by_effect = table.groupby("effect")
    references = by_effect.head(parameters.test_clips // 3)
    for reference, row in references.iterrows():
        others = table.index[table["group"] != row["group"]]
        target = others[7 * reference % len(others)]
        truth.append(test.picture(true_copy(part, reference, target)))
        copies.append((row["effect"], start + reference, start + target))
    start += len(table)
copies = pd.DataFrame(copies, columns=["effect", "reference", "target"])

# %% [markdown]
# What the decoder draws is compared with the truth. The baseline is the target's dry clip, as if nothing had been copied.

# %%
truth = torch.cat(truth)
x_target = dry[copies["target"].tolist()]
z_reference = mu[copies["reference"].tolist()]
with torch.inference_mode():
    copied = model.decode(z_reference, x_target)
by_pair = pd.DataFrame()
by_pair["target's dry clip"] = error(x_target, truth)
by_pair["decoder with the reference's code"] = error(copied, truth)
carried = by_pair.groupby(copies["effect"]).mean().loc[list(REPORT_ORDER)]
carried.loc["mean"] = carried.mean()

# %% tags=["nbval-ignore-output", "hide-input"]
for effect, (before, after) in carried.iterrows():
    values = {"dry": before, "moved": after}
    page.record_all(f"between.carried.{effect}", values)
page.record("between.carried.pairs", len(copies))
caption = (
    "Squared error to what the effect itself makes of the target's clip, in"
    " units of the training set's variance."
)
page.table(carried, "carried", caption, digits=4)

# %% tags=["nbval-ignore-output", "hide-input"]
overdriven = by_pair[copies["effect"] == "overdrive"].copy()
targets = copies["target"][overdriven.index]
by_target = overdriven.groupby(test.groups[targets]).mean()
by_target["pairs"] = overdriven.groupby(test.groups[targets]).size()
caption = "Overdrive alone, by the person or song of the target."
page.table(by_target, "targets", caption, digits=4)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-carried", "caption": "The code of one clip's effect, given to the decoder with another dry clip. From left: the reference, dry and wet; the target; what the decoder draws; and what the effect itself makes of the target. MSE: mean squared error to the last column. One colour scale, standardised dB."}, "image": {"alt": "Two rows of five spectrograms, delay above, overdrive below. In each row the fourth spectrogram resembles the fifth: the trace of the effect on the other clip."}}
figure, axes = plt.subplots(2, 5, figsize=(11, 4.4), sharex=True, sharey=True)
shown = {}
for line, effect in zip(axes, ("delay", "overdrive"), strict=True):
    i = int(copies.index[copies["effect"] == effect][2])
    shown[effect] = i
    reference = copies["reference"][i]
    before = error(x_target[[i]], truth[[i]])[0]
    after = error(copied[[i]], truth[[i]])[0]
    pictures = {
        "reference, dry": dry[reference],
        "reference, wet": wet[reference],
        f"target, dry, MSE {before:.2f}": x_target[i],
        f"decoder, MSE {after:.2f}": copied[i],
        "effect itself": truth[i],
    }
    strip(line, pictures, f"{effect}\n")
plt.show()

# %% [markdown]
# The figure shows the third pair under delay and the third under overdrive.
#
# **What we see.** Over {glue:text}`between.carried.pairs:.0f` such pairs the target's dry clip has a mean error of {glue:text}`between.carried.mean.dry:.3f`, and the decoder with the reference's code
# {glue:text}`between.carried.mean.moved:.3f`. The first table shows a smaller error than the dry clip's for delay, overdrive, multiband and ambience. The flanger is not copied: its notches are finer than a band, so the dry clip already has an error of only
# {glue:text}`between.carried.flanger.dry:.3f`, and the decoder has {glue:text}`between.carried.flanger.moved:.3f`.
#
# Be careful with the mean of overdrive, {glue:text}`between.carried.overdrive.dry:.3f` for the dry clip and {glue:text}`between.carried.overdrive.moved:.3f` for the decoder. The second table shows that it comes from a few targets with large errors, perhaps
# because nothing in training sounds like them. There are few pairs per song, and another pairing can change the mean a lot: the decoder may then be hardly better than the dry clip.
#
# ## Between two clips
#
# Now the effect stays, one delay at one setting, and we walk from one clip to another. The decoder of {eq}`eq-told-picture` takes what is said from the dry spectrogram, not from $z$. If we kept the first clip's dry spectrogram, we would see that clip at every step. Both have to move: $z$ along the straight line between the codes of the two clips, and the dry spectrogram through a cross-fade of the two sounds.
#
# The cross-fade is ours and not the model's. We mix the two sounds and set each mix to a {term}`loudness` of -23 LUFS (`level`). So every step has a truth: the delay itself on the cross-fade. We expect the decoder to draw the delay at
# every step. In the cell, `x_mixes` holds the dry spectrograms of the five mixes, and `x_itself` the truths.

# %%
groups = test.parts[0].table["group"]
another = int(np.flatnonzero(groups != groups[1])[0])  # by another person
other = test.parts[0].dry(another)
mixes, x_mixes, x_itself = [], [], []
for w in weights[:, 0].tolist():
    mix = level((1 - w) * clip + w * other, rate_hz, -23)
    mixes.append(mix)
    x_mixes.append(test.picture(mix))
    x_itself.append(test.picture(apply_at("delay", mix, rate_hz, **DELAY)))
x_mixes, x_itself = torch.cat(x_mixes), torch.cat(x_itself)

# %% [markdown]
# `z_other` is the code of the second clip, the last mix, under the delay. `across` is the walk. `same_dry` checks whether the codes hold anything of their clips: the decoder gets both with the first clip's dry spectrogram.

# %%
with torch.inference_mode():
    z_other = model.encode(torch.cat([x_itself[[4]], x_mixes[[4]]], 2))[0]
    z = (1 - weights) * z_delay + weights * z_other
    across = model.decode(z, x_mixes)
    z_ends = torch.cat([z_delay, z_other])
    same_dry = model.decode(z_ends, x_clip.expand(2, -1, -1, -1))
dry_errors, errors = error(x_mixes, x_itself), error(across, x_itself)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-across", "caption": "From one test clip to another, both under one delay. Above: what the decoder draws from five points of the straight line between the two codes and from the cross-fade's dry spectrogram; MSE: mean squared error to the spectrogram below. Below: the delay itself on the cross-fade. One colour scale, standardised dB."}, "image": {"alt": "Two rows of five spectrograms that look alike, the upper ones smoother: single echoes show below only. From left to right the pattern of one voice fades and that of another appears, each with its tail."}}
figure, axes = plt.subplots(2, 5, figsize=(11, 4.4), sharex=True, sharey=True)
above, below = {}, {}
for w, mse, x_hat, x in zip(steps, errors, across, x_itself, strict=True):
    above[f"{w:.2f}, MSE {mse:.2f}"] = x_hat
    below[f"{w:.2f}"] = x
strip(axes[0], above, "decoder\n")
strip(axes[1], below, "delay itself\n")
plt.show()

# %% tags=["nbval-ignore-output", "hide-input"]
distance = (z_other - z_delay).norm() / (z_drive - z_delay).norm()
page.record("between.clips.codes", distance)
page.record("between.clips.kept", error(same_dry[[1]], same_dry[[0]])[0])
rows = {}
for name, step in {"first": 0, "midway": 2, "second": 4}.items():
    page.record(f"between.clips.{name}.dry", dry_errors[step])
    page.record(f"between.clips.{name}.drawn", errors[step])
    rows[name] = {
        "dry cross-fade": dry_errors[step],
        "decoder": errors[step],
    }
caption = "Squared error to the delay itself on the cross-fade."
page.table(pd.DataFrame(rows).T, "across", caption)

# %% [markdown]
# **What we see.** If $z$ held nothing of its clip, the two codes would coincide, since the delay is the same. They do not quite: their distance is {glue:text}`between.clips.codes:.2f` of the distance between delay and overdrive on one clip.
# With the first clip's dry spectrogram, the other code changes the drawing by {glue:text}`between.clips.kept:.3f`; between delay and overdrive it was {glue:text}`between.ends:.3f`.
#
# Midway the decoder has an error of {glue:text}`between.clips.midway.drawn:.3f`, and the dry cross-fade {glue:text}`between.clips.midway.dry:.3f`. The table shows both ends as well. At every step the decoder is closer to the delay than the dry cross-fade is, as asserted below.

# %% tags=["nbval-ignore-output", "hide-input"]
WAY = {
    "Delay: the first clip": "The first voice alone, with a blurred tail.",
    "Delay: a quarter of the way": "The same voice, another one softly "
    "behind it; the tail is there.",
    "Delay: midway": "Two voices at once, with one tail.",
    "Delay: three quarters of the way": "The second voice, the first one "
    "softly behind it; the tail is there.",
    "Delay: the second clip": "The second voice alone, with a blurred tail.",
}
way, panel = [], []
for picture, mix, words in zip(across, mixes, WAY.items(), strict=True):
    audio = test.to_audio(picture, mix)
    way.append(audio)
    panel.append(players.player(audio, rate_hz, *words))
players.players(panel, 3)

# %% [markdown]
# ## As sound
#
# A spectrogram has no phase. So every sound made from one, above and below, borrows the phase of its dry clip, which is wrong for an echo. Besides, 48 bands are coarse. The second
# player lets you hear what the bands alone cost: it is the dry clip, through its own spectrogram and back. All sounds are set to -23 LUFS.

# %% tags=["nbval-ignore-output", "hide-input"]
i = shown["delay"]
target = test.parts[0].dry(int(copies["target"][i]))
WORDS = {
    "Dry": "A voice from outside the training set speaks a short phrase.",
    "Dry, through its spectrogram": "The same words, a little rough: the cost "
    "of 48 bands.",
    "Delay itself": "The words return again and again and run into one "
    "another.",
    "Delay, drawn by the decoder": "The words with a blurred tail where the "
    "echoes were.",
    "Midway to overdrive": "A shorter tail, a sharper voice.",
    "Overdrive, drawn by the decoder": "A sharp and dense voice, hardly a "
    "tail.",
    "Another clip, dry": "Another person, also from outside the training set.",
    "Another clip, with the reference's delay": "The same clip with a blurred "
    "tail.",
}
sounds = [
    clip,
    test.to_audio(x_clip[0], clip),
    delayed,
    test.to_audio(between[0], clip),
    test.to_audio(between[2], clip),
    test.to_audio(between[4], clip),
    target,
    test.to_audio(copied[i], target),
]
panel = []
for audio, words in zip(sounds, WORDS.items(), strict=True):
    panel.append(players.player(audio, rate_hz, *words))
players.players(panel)

# %% [markdown]
# ## The finding, asserted
#
# From step to step the distance to the delay must grow and that to the overdrive shrink. When effects are copied to another clip, the decoder's error must be below 0.9 of the dry clip's: under each effect but the flanger, and in the mean over all five.
# From clip to clip the decoder must be better than the dry cross-fade at every step. No person or song may be in both training and test, and all sounds of the players (`way`, `sounds`) must be equally loud. Each walk is one example, and there is one pairing and one seed.

# %%
gradual = (np.diff(to_delay) > 0).all() and (np.diff(to_drive) < 0).all()
page.finding("the way to overdrive is gradual", gradual)
for effect in ("delay", "overdrive", "multiband", "ambience", "mean"):
    before, after = carried.loc[effect]
    share = after / before
    page.finding(f"{effect}: roughly copied", share < 0.9, share)
most = (errors / dry_errors).max()
page.finding("from clip to clip the effect stays", most < 1, most)

# %%
trained = set(pairs["train"].groups)
assert not trained & set(test.groups), "someone is in training and test"
for audio in [*way, *sounds]:
    assert abs(loudness(audio, rate_hz) + 23) < 0.1, "one is louder"

# %% [markdown]
# ```{admonition} Exercise
# Go beyond the ends: what does the decoder draw for `weights = torch.linspace(-1, 2, 5)`, and for $z = 0$?
# ```
#
# ```{admonition} A solution
# :class: dropdown
# Beyond the overdrive the high bands go on rising, beyond the delay they go on falling. The decoder goes on in the same direction, to spectrograms that no setting gives. $z = 0$ is the middle of the prior. Every training clip was under an effect, and yet the decoder draws nearly the dry spectrogram, a little brighter. If the encoder gets the dry clip as the wet one, too, the decoder with that code comes closer still.
# ```
#
# ## Provenance

# %% tags=["nbval-ignore-output"]
page.provenance(parameters)
