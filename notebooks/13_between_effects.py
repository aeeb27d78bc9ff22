# %% [markdown]
# # What lies between two effects?
#
# ```{admonition} This page
# :class: tip
# **In**: the model of the [page before](12_latent_space), {eq}`eq-told-picture`, which draws a wet picture from a dry one and a code $z$ of the effect. **Out**: effects between
# effects, one clip's effect on another clip, and the way from clip to clip under one effect, as pictures and as sound. **Time**: half a minute on one CPU core when the page before was run, else
# what that takes. **Number to expect**: an effect carried over to an unheard clip leaves about half of the dry clip's error.
# ```
#
# If $z$ holds the effect and nothing of the clip, we can do two things with it. On the straight line between two codes lie effects that no one programmed.
# And the code of one clip's effect can be given to the decoder with another clip. The parameters are those of the page before, so its training is found and
# not done again.

# %% tags=["parameters"]
corpora: list = ["speech", "music"]  # trained on together; folder:<path>
paired: bool = True  # the encoder hears the dry picture, too
latent: int = 32  # number of latent units
epochs: int = 12  # passes over the training clips
train_clips: int = 60  # clips of each effect and corpus in the training set
test_clips: int = 30  # per effect and corpus; a third validates
floor_db: float = -60.0  # quieter values of a picture are set to it, dB
seed: int = 1  # of clips, settings, weights, order, latent noise

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from lib import vae
from lib.audio.effects import REPORT_ORDER, apply_at
from lib.audio.levels import level, loudness
from lib.book import figures, page, players
from lib.data.examples import SMALL, paired_splits

parameters = page.begin("13_between_effects", globals())
rate_hz = SMALL.sample_rate_hz

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
wet, dry = test.x
mu = torch.from_numpy(vae.encode_all(model, test.data)[0])

# %% [markdown]
# ## Between two effects
#
# One unheard dry clip under delay and under overdrive gives two codes. We expect that the picture of the midway code lies between those of the ends, and
# that the way there is gradual.

# %%
clip = test.parts[0].dry(1)  # (sample,), by someone never heard in training
# positions in the ranges of the controls
DELAY = {"delay_ms": 0.7, "feedback": 0.6, "mix": 0.8}
OVERDRIVE = {"drive_db": 0.7, "muffle_hz": 0.8}
delayed = apply_at("delay", clip, rate_hz, **DELAY)
driven = apply_at("overdrive", clip, rate_hz, **OVERDRIVE)

# %%
x_clip = test.picture(clip)
x_delayed, x_driven = test.picture(delayed), test.picture(driven)
weights = torch.linspace(0, 1, 5)[:, None]
with torch.inference_mode():
    z_delay = model.encode(torch.cat([x_delayed, x_clip], 2))[0]
    z_drive = model.encode(torch.cat([x_driven, x_clip], 2))[0]
    z = (1 - weights) * z_delay + weights * z_drive
    between = model.decode(z, x_clip.expand(5, -1, -1, -1))


# %%
def error(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Mean squared error of each clip, (clip,)."""
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


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-between", "caption": "From delay to overdrive on one unheard clip: the effects themselves at the ends, and between them the decoder's picture at five points of the straight line between the two codes. One colour scale, standardised dB."}, "image": {"alt": "Seven spectrograms. From left to right the tails in the pauses fade and the high bands become brighter."}}
steps = weights[:, 0].tolist()
pictures = {"delay itself": x_delayed[0]}
for w, picture in zip(steps, between, strict=True):
    pictures[f"overdrive {w:.2f}"] = picture
pictures["overdrive itself"] = x_driven[0]
figure, axes = plt.subplots(1, 7, figsize=(11, 2.5), sharey=True)
strip(axes, pictures)
plt.show()

# %% tags=["nbval-ignore-output", "hide-input"]
page.record("between.ends", to_delay[4])
page.record("between.midway_to_delay", to_delay[2])
page.record("between.midway_to_overdrive", to_drive[2])

# %% [markdown]
# **What we see.** Between the decoder's own ends lies a squared difference of {glue:text}`between.ends:.3f`; midway is {glue:text}`between.midway_to_delay:.3f` from the delay and
# {glue:text}`between.midway_to_overdrive:.3f` from the overdrive. The echoes are a smooth tail: beats of an echo are the part of the delay that the decoder draws worst.
#
# ## From one clip to another
#
# Each giver below is an unheard clip under one of the five effects; the taker is a dry clip of another person or song. The decoder gets the giver's code and the
# taker's dry picture. Here we know the truth: the effect itself, at the giver's settings, on the taker's clip.


# %%
def at_setting(part: object, giver: int, taker: int) -> np.ndarray:
    """The taker's dry clip under the giver's effect and settings."""
    row = part.table.loc[giver]
    unit = row.filter(like=f"{row['effect']}.").astype(float)
    unit.index = [name.partition(".")[2] for name in unit.index]
    return apply_at(row["effect"], part.dry(taker), rate_hz, **unit)


# %%
moves, truth = [], []
start = 0
for part in test.parts:
    groups, effects = part.table["group"], part.table["effect"]
    for giver in range(len(part.table)):
        # the first third of the clips of each effect
        if giver % parameters.test_clips >= parameters.test_clips // 3:
            continue
        takers = np.flatnonzero(groups != groups[giver])
        taker = int(takers[7 * giver % len(takers)])
        truth.append(test.picture(at_setting(part, giver, taker)))
        moves.append((effects[giver], start + giver, start + taker))
    start += len(part.table)
moves = pd.DataFrame(moves, columns=["effect", "giver", "taker"])

# %%
truth = torch.cat(truth)
x_taker = dry[moves["taker"].tolist()]
with torch.inference_mode():
    moved = model.decode(mu[moves["giver"].tolist()], x_taker)
carried = pd.DataFrame()
carried["taker's dry clip"] = error(x_taker, truth)
carried["decoder with the giver's code"] = error(moved, truth)
carried = carried.groupby(moves["effect"]).mean().loc[list(REPORT_ORDER)]
carried.loc["mean"] = carried.mean()

# %% tags=["nbval-ignore-output", "hide-input"]
for effect, (before, after) in carried.iterrows():
    values = {"dry": before, "moved": after}
    page.record_all(f"between.carried.{effect}", values)
page.record("between.carried.pairs", len(moves))
caption = "Squared error to what the effect itself makes of the taker's clip, "
caption += "in units of the training set's variance."
page.table(carried, "carried", caption, digits=4)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-carried", "caption": "The code of one clip's effect, given to the decoder with another dry clip. From left: the clip that gives its effect, dry and wet; the clip that takes it; what the decoder draws; and what the effect itself makes of it. MSE: mean squared error to the last column. One colour scale, standardised dB."}, "image": {"alt": "Two rows of five spectrograms, delay above, overdrive below. In each row the fourth spectrogram resembles the fifth: the trace of the effect on the other clip."}}
figure, axes = plt.subplots(2, 5, figsize=(11, 4.4), sharex=True, sharey=True)
chosen = []
for line, effect in zip(axes, ("delay", "overdrive"), strict=True):
    i = int(moves.index[moves["effect"] == effect][2])
    chosen.append(i)
    giver = moves["giver"][i]
    before = error(x_taker[[i]], truth[[i]])[0]
    after = error(moved[[i]], truth[[i]])[0]
    pictures = {
        "giver, dry": dry[giver],
        "giver, wet": wet[giver],
        f"taker, dry, MSE {before:.2f}": x_taker[i],
        f"decoder, MSE {after:.2f}": moved[i],
        "effect itself": truth[i],
    }
    strip(line, pictures, f"{effect}\n")
plt.show()

# %% [markdown]
# **What we see.** Over {glue:text}`between.carried.pairs:.0f` such pairs the taker's dry clip has an error of {glue:text}`between.carried.mean.dry:.3f`, the decoder with the giver's code
# {glue:text}`between.carried.mean.moved:.3f`. Delay goes from {glue:text}`between.carried.delay.dry:.3f` to {glue:text}`between.carried.delay.moved:.3f`, ambience from
# {glue:text}`between.carried.ambience.dry:.3f` to {glue:text}`between.carried.ambience.moved:.3f`, overdrive from {glue:text}`between.carried.overdrive.dry:.3f` to
# {glue:text}`between.carried.overdrive.moved:.3f` and multiband from {glue:text}`between.carried.multiband.dry:.3f` to {glue:text}`between.carried.multiband.moved:.3f`. The flanger is not carried over
# ({glue:text}`between.carried.flanger.dry:.3f` and {glue:text}`between.carried.flanger.moved:.3f`): its comb is finer than a band.
#
# ## Between two clips
#
# One effect, at one setting, and two clips. The decoder of {eq}`eq-told-picture` hears from the dry picture what is said, not from $z$: with the first clip's dry picture kept, the way
# from code to code shows that clip under that effect at every step. So both have to go. $z$ goes on the straight line between the codes of the two clips, and the dry picture is that of a
# cross-fade, which we mix as sound and level: this half of the way is not the model's. It gives a truth for every step, the effect itself on the cross-fade. We expect that the effect
# holds all the way.

# %%
groups = test.parts[0].table["group"]
another = int(np.flatnonzero(groups != groups[1])[0])  # another person's clip
other = test.parts[0].dry(another)
mixes, x_mixes, x_itself = [], [], []
for w in weights[:, 0].tolist():
    mix = level((1 - w) * clip + w * other, rate_hz, -23)
    mixes.append(mix)
    x_mixes.append(test.picture(mix))
    x_itself.append(test.picture(apply_at("delay", mix, rate_hz, **DELAY)))
x_mixes, x_itself = torch.cat(x_mixes), torch.cat(x_itself)

# %%
with torch.inference_mode():
    z_other = model.encode(torch.cat([x_itself[[4]], x_mixes[[4]]], 2))[0]
    z = (1 - weights) * z_delay + weights * z_other
    across = model.decode(z, x_mixes)
    # both codes with the first clip's dry picture
    z_ends = torch.cat([z_delay, z_other])
    same_dry = model.decode(z_ends, x_clip.expand(2, -1, -1, -1))
dry_errors, errors = error(x_mixes, x_itself), error(across, x_itself)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-across", "caption": "From one unheard clip to another, both under one delay. Above: the decoder's picture, of five points of the straight line between the two codes and of the cross-fade's dry picture; MSE: mean squared error to the picture below. Below: the delay itself on the cross-fade. One colour scale, standardised dB."}, "image": {"alt": "Two rows of five spectrograms that look alike, the upper ones smoother: single echoes show below only. From left to right the pattern of one voice fades and that of another appears, each with its tail."}}
figure, axes = plt.subplots(2, 5, figsize=(11, 4.4), sharex=True, sharey=True)
above, below = {}, {}
for w, mse, x_hat, x in zip(steps, errors, across, x_itself, strict=True):
    above[f"{w:.2f}, MSE {mse:.2f}"] = x_hat
    below[f"{w:.2f}"] = x
strip(axes[0], above, "decoder\n")
strip(axes[1], below, "delay itself\n")
plt.show()

# %% tags=["hide-input"]
distance = (z_other - z_delay).norm() / (z_drive - z_delay).norm()
page.record("between.clips.codes", distance)
page.record("between.clips.kept", error(same_dry[[1]], same_dry[[0]])[0])
for name, step in {"first": 0, "midway": 2, "second": 4}.items():
    page.record(f"between.clips.{name}.dry", dry_errors[step])
    page.record(f"between.clips.{name}.drawn", errors[step])

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
# **What we see.** The two clips' codes lie {glue:text}`between.clips.codes:.2f` of the way apart that lies between delay and overdrive on one clip. With the first dry picture kept, the other code changes the decoder's picture
# by {glue:text}`between.clips.kept:.3f`; between delay and overdrive it was {glue:text}`between.ends:.3f`. On the way the decoder's error is {glue:text}`between.clips.first.drawn:.3f` at the first clip,
# {glue:text}`between.clips.midway.drawn:.3f` midway and {glue:text}`between.clips.second.drawn:.3f` at the second, where the dry cross-fade itself has {glue:text}`between.clips.first.dry:.3f`,
# {glue:text}`between.clips.midway.dry:.3f` and {glue:text}`between.clips.second.dry:.3f`.
#
# ## As sound
#
# A picture has no phase. All sounds from pictures have that of the dry clip, above of the cross-fade, which an echo does not have, and 48 bands are coarse: the second
# player says what this alone costs. All are set to -23 LUFS.

# %% tags=["nbval-ignore-output", "hide-input"]
taker = test.parts[0].dry(int(moves["taker"][chosen[0]]))
WORDS = {
    "Dry": "A voice that was never heard in training speaks a short phrase.",
    "Dry, through its picture": "The same words, a little rough: the cost of "
    "48 bands.",
    "Delay itself": "The words return again and again and run into one "
    "another.",
    "Delay, drawn by the decoder": "The words with a blurred tail where the "
    "echoes were.",
    "Midway to overdrive": "A shorter tail, a sharper voice.",
    "Overdrive, drawn by the decoder": "A sharp and dense voice, hardly a "
    "tail.",
    "Another clip, dry": "Another person, also never heard in training, "
    "begins after a pause.",
    "Another clip, with the giver's delay": "The same clip with a blurred "
    "tail.",
}
sounds = [
    clip,
    test.to_audio(x_clip[0], clip),
    delayed,
    test.to_audio(between[0], clip),
    test.to_audio(between[2], clip),
    test.to_audio(between[4], clip),
    taker,
    test.to_audio(moved[chosen[0]], taker),
]
panel = []
for audio, words in zip(sounds, WORDS.items(), strict=True):
    panel.append(players.player(audio, rate_hz, *words))
players.players(panel)

# %% [markdown]
# ## The finding, asserted

# %%
assert (np.diff(to_delay) > 0).all(), "midway is not between the ends"
assert (np.diff(to_drive) < 0).all(), "midway is not between the ends"
for effect in ("delay", "overdrive", "multiband", "ambience", "mean"):
    before, after = carried.loc[effect]
    assert after < 0.9 * before, f"{effect}: the effect is not carried over"
trained = set(pairs["train"].groups)
assert not trained & set(test.groups), "someone is in training and test"
assert (errors < dry_errors).all(), "on the way the effect is lost"
for audio in [*way, *sounds]:
    assert abs(loudness(audio, rate_hz) + 23) < 0.1, "one is louder"
print("asserted: midway lies between its ends, and an effect is carried over")
print("to clips never heard")

# %% [markdown]
# ```{admonition} Exercise
# Go beyond the ends: what does the decoder draw for `weights = torch.linspace(-1, 2, 5)`, and for $z = 0$?
# ```
#
# ```{admonition} A solution
# :class: dropdown
# Beyond the overdrive the high bands go on rising, beyond the delay they go on falling: the line has a direction, and the decoder follows it outside, into pictures that belong to no
# setting. $z = 0$ is the middle of the prior. No training clip was dry, yet the picture is nearly the dry one, a little brighter. The code of a clip paired with itself comes closer.
# ```
#
# ## Provenance

# %% tags=["nbval-ignore-output"]
page.provenance(parameters)
