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
from lib.audio import effects, levels
from lib.audio.effects import REPORT_ORDER
from lib.book import figures, players
from lib.book import page as story
from lib.data import examples

parameters = story.begin("13_between_effects", globals())
layout, rate = examples.SMALL, examples.SMALL.sample_rate_hz

# %% tags=["nbval-ignore-output"]
found, data = examples.paired_splits(
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
    epochs=parameters.epochs,
    loss="calibrated",
    learning_rate=6e-3,
    batch_size=16,
    seed=parameters.seed,
)
run = vae.train(config, data)
model, test = run.model(), found["test"]
(wet, dry), mu = test.x, torch.from_numpy(vae.encode_all(model, test.data)[0])

# %% [markdown]
# ## Between two effects
#
# One unheard dry clip under delay and under overdrive gives two codes. We expect that the picture of the midway code lies between those of the ends, and
# that the way there is gradual.

# %%
clip = test.parts[0].dry(1)  # (sample,), by someone never heard in training
DELAY = dict(
    delay_ms=0.7, feedback=0.6, mix=0.8
)  # positions in the ranges of the controls
ends = [
    effects.apply_at("delay", clip, rate, **DELAY),
    effects.apply_at("overdrive", clip, rate, drive_db=0.7, muffle_hz=0.8),
]
x_clip, x_ends = test.picture(clip), [test.picture(audio) for audio in ends]
weights = torch.linspace(0, 1, 5)[:, None]
with torch.inference_mode():
    first, last = (model.encode(torch.cat([x, x_clip], 2))[0] for x in x_ends)
    between = model.decode(
        (1 - weights) * first + weights * last, x_clip.expand(5, -1, -1, -1)
    )


# %% mystnb={"figure": {"name": "fig-between", "caption": "From delay to overdrive on one unheard clip: the effects themselves at the ends, and between them the decoder's picture at five points of the straight line between the two codes. One colour scale, standardised dB."}, "image": {"alt": "Seven spectrograms. From left to right the tails in the pauses fade and the high bands become brighter."}}
def error(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Mean squared error of each clip, (clip,)."""
    return (a - b).square().flatten(1).mean(1).numpy()


def strip(
    axes: np.ndarray, pictures: dict[str, torch.Tensor], name: str = ""
) -> None:
    """A row of spectrograms (1, band, frame), by title, on the colour scale of the test set."""
    low, high = figures.limits(wet.numpy())
    for ax, (title, values) in zip(axes, pictures.items(), strict=True):
        image = figures.show_spectrogram(
            ax, values[0], layout, low, high, title
        )
        ax.label_outer()
    axes[0].set_ylabel(f"{name}frequency / Hz")
    figures.colour_bar(ax.figure, image, axes, "standardised dB")


drawn = {
    f"overdrive {w:.2f}": values
    for w, values in zip(weights[:, 0].tolist(), between, strict=True)
}
figure, axes = plt.subplots(1, 7, figsize=(11, 2.5), sharey=True)
strip(
    axes,
    {"delay itself": x_ends[0][0]}
    | drawn
    | {"overdrive itself": x_ends[1][0]},
)
plt.show()

# %% tags=["nbval-ignore-output", "hide-input"]
to_first, to_last = error(between, between[[0]]), error(between, between[[4]])
story.record("between.ends", to_first[4])
story.record("between.midway_to_delay", to_first[2])
story.record("between.midway_to_overdrive", to_last[2])

# %% [markdown]
# **What we see.** Between the decoder's own ends lies a squared difference of {glue:text}`between.ends:.3f`; midway is {glue:text}`between.midway_to_delay:.3f` from the delay and
# {glue:text}`between.midway_to_overdrive:.3f` from the overdrive. The echoes are a smooth tail: beats of an echo are the part of the delay that the decoder draws worst.
#
# ## From one clip to another
#
# Each giver below is an unheard clip under one of the five effects; the taker is a dry clip of another person or song. The decoder gets the giver's code and the
# taker's dry picture. Here we know the truth: the effect itself, at the giver's settings, on the taker's clip.

# %% tags=["nbval-ignore-output"]
rows, truth = [], []
for number, part in enumerate(test.parts):
    start, own = number * len(part.table), part.table["group"].to_numpy()
    for giver in (
        i
        for i in range(len(own))
        if i % parameters.test_clips < parameters.test_clips // 3
    ):
        effect, takers = (
            part.table["effect"][giver],
            np.flatnonzero(own != own[giver]),
        )
        taker = int(takers[7 * giver % len(takers)])
        unit = part.table.loc[giver].filter(like=f"{effect}.").astype(float)
        unit.index = [name.partition(".")[2] for name in unit.index]
        truth.append(
            test.picture(
                effects.apply_at(effect, part.dry(taker), rate, **unit)
            )
        )
        rows.append((effect, start + giver, start + taker))
moves, truth = (
    pd.DataFrame(rows, columns=["effect", "giver", "taker"]),
    torch.cat(truth),
)
x_taker = dry[moves["taker"].tolist()]
with torch.inference_mode():
    moved = model.decode(mu[moves["giver"].tolist()], x_taker)
carried = {
    "taker's dry clip": error(x_taker, truth),
    "decoder with the giver's code": error(moved, truth),
}
carried = (
    pd.DataFrame(carried)
    .groupby(moves["effect"])
    .mean()
    .loc[list(REPORT_ORDER)]
)
carried.loc["mean"] = carried.mean()
for effect, row in carried.iterrows():
    story.record(f"between.carried.{effect}.dry", row.iloc[0])
    story.record(f"between.carried.{effect}.moved", row.iloc[1])
story.record("between.carried.pairs", len(moves))
carried.style.set_uuid("carried").format(precision=4).set_caption(
    "Squared error to what the effect itself makes of the taker's clip, in units of the training set's variance."
)

# %% mystnb={"figure": {"name": "fig-carried", "caption": "The code of one clip's effect, given to the decoder with another dry clip. From left: the clip that gives its effect, dry and wet; the clip that takes it; what the decoder draws; and what the effect itself makes of it. MSE: mean squared error to the last column. One colour scale, standardised dB."}, "image": {"alt": "Two rows of five spectrograms, delay above, overdrive below. In each row the fourth spectrogram resembles the fifth: the trace of the effect on the other clip."}}
figure, axes = plt.subplots(2, 5, figsize=(11, 4.4), sharex=True, sharey=True)
chosen = [
    int(moves.index[moves["effect"] == effect][2])
    for effect in ("delay", "overdrive")
]
for line, i in zip(axes, chosen, strict=True):
    giver, before, after = (
        moves["giver"][i],
        *(error(x[[i]], truth[[i]])[0] for x in (x_taker, moved)),
    )
    pictures = {
        "giver, dry": dry[giver],
        "giver, wet": wet[giver],
        f"taker, dry, MSE {before:.2f}": x_taker[i],
    }
    pictures |= {
        f"decoder, MSE {after:.2f}": moved[i],
        "effect itself": truth[i],
    }
    strip(line, pictures, moves["effect"][i] + "\n")
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
other = test.parts[0].dry(
    int(np.flatnonzero(groups != groups[1])[0])
)  # another person's
mixes = [
    levels.level((1 - w) * clip + w * other, rate, -23)
    for w in weights[:, 0].tolist()
]
x_mixes = torch.cat([test.picture(mix) for mix in mixes])
itself = torch.cat(
    [
        test.picture(effects.apply_at("delay", mix, rate, **DELAY))
        for mix in mixes
    ]
)
with torch.inference_mode():
    second = model.encode(torch.cat([itself[[4]], x_mixes[[4]]], 2))[0]
    across = model.decode((1 - weights) * first + weights * second, x_mixes)
    kept = model.decode(
        torch.cat([first, second]), x_clip.expand(2, -1, -1, -1)
    )
undone, done = error(x_mixes, itself), error(across, itself)

# %% mystnb={"figure": {"name": "fig-across", "caption": "From one unheard clip to another, both under one delay. Above: the decoder's picture, of five points of the straight line between the two codes and of the cross-fade's dry picture; MSE: mean squared error to the picture below. Below: the delay itself on the cross-fade. One colour scale, standardised dB."}, "image": {"alt": "Two rows of five spectrograms that look alike, the upper ones smoother: single echoes show below only. From left to right the pattern of one voice fades and that of another appears, each with its tail."}}
figure, axes = plt.subplots(2, 5, figsize=(11, 4.4), sharex=True, sharey=True)
steps = weights[:, 0].tolist()
strip(
    axes[0],
    {
        f"{w:.2f}, MSE {mse:.2f}": x
        for w, mse, x in zip(steps, done, across, strict=True)
    },
    "decoder\n",
)
strip(
    axes[1],
    {f"{w:.2f}": x for w, x in zip(steps, itself, strict=True)},
    "delay itself\n",
)
plt.show()

# %% tags=["nbval-ignore-output"]
story.record(
    "between.clips.codes", (second - first).norm() / (last - first).norm()
)
story.record("between.clips.kept", error(kept[[1]], kept[[0]])[0])
for name, step in {"first": 0, "midway": 2, "second": 4}.items():
    story.record(f"between.clips.{name}.dry", undone[step])
    story.record(f"between.clips.{name}.drawn", done[step])
WAY = {
    "Delay: the first clip": "The first voice alone, with a blurred tail.",
    "Delay: a quarter of the way": "The same voice, another one softly behind it; the tail is there.",
    "Delay: midway": "Two voices at once, with one tail.",
    "Delay: three quarters of the way": "The second voice, the first one softly behind it; the tail is there.",
    "Delay: the second clip": "The second voice alone, with a blurred tail.",
}
way = [
    test.to_audio(picture, mix)
    for picture, mix in zip(across, mixes, strict=True)
]
players.players(
    [
        players.player(audio, rate, *words)
        for audio, words in zip(way, WAY.items(), strict=True)
    ],
    3,
)

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

# %% tags=["nbval-ignore-output"]
taker = test.parts[0].dry(int(moves["taker"][chosen[0]]))
sounds = {
    "Dry": (
        clip,
        "A voice that was never heard in training speaks a short phrase.",
    ),
    "Dry, through its picture": (
        test.to_audio(x_clip[0], clip),
        "The same words, a little rough: the cost of 48 bands.",
    ),
    "Delay itself": (
        ends[0],
        "The words return again and again and run into one another.",
    ),
    "Delay, drawn by the decoder": (
        test.to_audio(between[0], clip),
        "The words with a blurred tail where the echoes were.",
    ),
    "Midway to overdrive": (
        test.to_audio(between[2], clip),
        "A shorter tail, a sharper voice.",
    ),
    "Overdrive, drawn by the decoder": (
        test.to_audio(between[4], clip),
        "A sharp and dense voice, hardly a tail.",
    ),
    "Another clip, dry": (
        taker,
        "Another person, also never heard in training, begins after a pause.",
    ),
    "Another clip, with the giver's delay": (
        test.to_audio(moved[chosen[0]], taker),
        "The same clip with a blurred tail.",
    ),
}
players.players(
    [
        players.player(audio, rate, label, words)
        for label, (audio, words) in sounds.items()
    ]
)

# %% [markdown]
# ## The finding, asserted

# %%
assert (np.diff(to_first) > 0).all() and (np.diff(to_last) < 0).all(), (
    "midway does not lie between the ends"
)
for effect in ("delay", "overdrive", "multiband", "ambience", "mean"):
    before, after = carried.loc[effect]
    assert after < 0.9 * before, f"{effect}: the effect is not carried over"
trained, tested = (
    set(found[split].table["group"]) for split in ("train", "test")
)
assert not trained & tested, "a person or song is in training and test"
assert (done < undone).all(), "on the way from clip to clip the effect is lost"
heard = [*way, *(audio for audio, _ in sounds.values())]
assert all(abs(levels.loudness(audio, rate) + 23) < 0.1 for audio in heard), (
    "one is louder than another"
)
print(
    "asserted: midway lies between its ends, and an effect is carried over to clips never heard"
)

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
story.provenance(parameters)
