# %% [markdown]
# # What does each effect do to a spectrogram?
#
# The [report](../intro) that this book examines asks for "sensible embeddings of audio which reflect the difference in effects" (an embedding is a short list of numbers for a clip). What is this difference, once all clips are equally loud?
#
# Of the report's five effects, overdrive and multiband act most like a fixed filter, an equaliser whose settings never change. Delay, ambience and flanger change the sound in a way that moves with time. The flanger changes it least.
#
# ```{glue:figure} key-02
# :name: fig-key-02
# :alt: Scatter of eleven effects. Overdrive, multiband, combo, ring modulator and bitcrush are large and half fixed; delay, ambience and compressor are large and mostly moving; flanger, chorus and phaser are small and moving.
#
# How far each effect changes the spectrogram of a clip (in dB, to the right), and how much of the change a fixed filter explains (0 to 1, upwards). Markers: means over 24 clips; bars: standard deviation over the clips.
# ```
#
# ```{admonition} This page
# :class: tip
# **In**: clips of speech or music, two seconds each. **Out**: one clip under all effects, to see and to hear, and for
# every effect the size of its {term}`trace` (the change of the spectrogram in dB) and the share of the trace that does not move.
# **Time**: about half a minute on one CPU core; a GPU is not used. **Number to expect**: a fixed filter explains about 60 % of overdrive's trace and about 20 % of delay's (as shares of the mean square).
# ```

# %% tags=["parameters"]
corpus: str = "speech"  # speech, music, folder:<path>, vctk:<path>
clip_s: float = 2.03  # length of a clip, seconds
settings: str = "fixed"  # fixed: every control at 0.5; random: uniform
seed: int = 0  # seed of the clips and of random settings

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from lib.audio import SpectrogramConfig, effects, loudness, spectrogram
from lib.audio.effects import EFFECTS, controls_table, draw_wet
from lib.book import figures, page, players
from lib.data import ClipConfig, Clips

parameters = page.begin("02_audio_effects", globals())

# %% [markdown]
# ## Eleven effects, and clean
#
# The first five effects are those of the report's Table 1, in its order. The report ran plug-ins of the free collection mda. Ours are built from
# processors of the library pedalboard, so the names agree and the circuits do not. *Clean* is the clip without any effect.
# (`page.begin`, above, has checked the parameters.)
#
# | effect | what it does |
# | --- | --- |
# | delay | adds echoes that repeat and die away |
# | overdrive | amplifies until the wave is clipped, then cuts the treble |
# | multiband | compresses bass, middle and treble separately |
# | ambience | adds the reverberation of a room |
# | flanger | adds a slightly late copy; the lateness changes slowly. This cuts narrow gaps (notches) into the spectrum, and they move |
# | compressor | turns loud passages down |
# | ring modulator | multiplies by a sine wave, which shifts every frequency up and down |
# | chorus | like a flanger, with a longer delay and little feedback |
# | phaser | moves notches across the spectrum with all-pass filters |
# | bitcrush | samples again at a low rate, with few bits |
# | combo | imitates a guitar amplifier: distorts, and keeps only a narrow band of frequencies |
#
# An effect is a function from audio to audio. This one is overdrive. `_process` runs the audio through processors of pedalboard (`pb`), one after the other: `Distortion` is a gain and
# then $\tanh$, and the low pass weakens what lies above `muffle_hz`. (`_below_half` keeps this frequency below half the sampling rate.)

# %%
page.source(effects.overdrive)

# %% [markdown]
# Every control, such as `drive_db`, is scaled so that its range becomes 0 to 1, as in the report. `fixed` settings put all controls at 0.5, and `random` ones draw each control uniformly from 0 to 1.
# A folded table has all ranges.

# %% tags=["hide-cell"]
controls = controls_table().set_index(["effect", "parameter"])
caption = "low is the control at 0 and high the control at 1."
page.table(controls, "effects", caption, 2)

# %% [markdown]
# ## Equally loud
#
# Overdrive raises the level, and a filter that removes the treble lowers it. An embedding could sort clips by that alone: the volume dominated the
# latent codes of the report's VAE until its author normalised it. So we bring every *wet* clip, the one with the effect, to the {term}`loudness` of its
# *dry* clip, the one without.
#
# `draw_wet` refuses a silent dry clip, and then does four things:
#
# 1. It returns the dry clip if the effect is clean, which has no controls.
# 2. It chooses the settings, which `denormalise` translates from 0 to 1 into dB, ms or Hz, and applies the effect.
# 3. It sets the loudness. `level` refuses audio that is silent or not finite with `BadInput`.
# 4. It refuses a result that hardly differs from the dry clip. The RMS (root mean square) of the difference must be at least 0.001 of the dry clip's RMS. This limit is called `EQUAL`.
#
# After a refusal random settings are drawn again, up to `DRAWS` times; fixed settings have one attempt. If none succeeds, the error says why. So dry audio never gets the label of an effect.

# %%
page.source(draw_wet)

# %% [markdown]
# We apply all effects to one clip. Random settings depend only on the seed, the clip's number and the effect's place in the table. So the effects can be applied in any order.

# %%
config = ClipConfig(
    corpus=parameters.corpus, split="all",
    clip_s=parameters.clip_s, seed=parameters.seed,
)  # fmt: skip
source, rate_hz = Clips(config), config.sample_rate_hz


def wet_clip(name: str, number: int) -> np.ndarray:
    """A clip under an effect, (sample,)."""
    dry, _ = source[number]
    place = list(EFFECTS).index(name)
    rng = np.random.default_rng([parameters.seed, number, place])
    return draw_wet(name, dry, rate_hz, parameters.settings, rng)[0]


# %%
dry, origin = source[0]
lufs_before, wet, rows = loudness(dry, rate_hz), {}, {}
for name in EFFECTS:
    wet[name] = wet_clip(name, 0)
    rows[name] = {
        "loudness before / LUFS": lufs_before,
        "loudness after / LUFS": loudness(wet[name], rate_hz),
        "peak after / dBFS": 20 * np.log10(np.abs(wet[name]).max()),
    }
levels = pd.DataFrame(rows).T

# %% tags=["nbval-ignore-output", "hide-input"]
difference = levels["loudness after / LUFS"] - lufs_before
page.record("effects.level_error_lu", difference.abs().max())
caption = (
    "One clip under all effects. LUFS: level weighted as the ear does. dBFS:"
    " dB below full scale."
)
page.table(levels, "levels", caption, 1)

# %% [markdown]
# **What we see.** The loudness before and after differs by at most {glue:text}`effects.level_error_lu:.0e` LU (1 LU is 1 dB), while the peaks differ by many decibels.
# `draw_wet` makes all wet clips equally loud. So loudness cannot tell the effects apart.
#
# ## Listen
#
# Here are the dry clip and the eleven wet ones. Use headphones if you can: flanger and phaser are faint on small speakers.

# %% tags=["hide-input"]
transcripts = {
    "clean": "The clip as it was recorded, cut, faded and levelled.",
    "delay": "The clip with distinct echoes that repeat and die away.",
    "overdrive": "The clip distorted and rough, the treble muffled.",
    "multiband": "The clip squashed: quiet sounds and noise come forward, bass"
    " and treble are held apart.",
    "ambience": "The clip in a room, its endings smeared.",
    "flanger": "The clip with a slowly sweeping, hollow, jet-like tone.",
    "compressor": "The clip evened out: quiet parts are nearly as loud as loud"
    " ones.",
    "ring_modulator": "The clip turned metallic, like a robot; its pitches no"
    " longer fit together.",
    "chorus": "The clip doubled by a slightly wavering copy.",
    "phaser": "The clip with soft notches that sweep up and down.",
    "bitcrush": "The clip grainy and buzzing, as from an early computer.",
    "combo": "The clip through a guitar amplifier: distorted, narrow, without"
    " treble.",
}
items = []
for name, audio in wet.items():
    label = EFFECTS[name].label
    items.append(players.player(audio, rate_hz, label, transcripts[name]))
where = f"{origin['recording']} ({origin['group']})"
print(f"{where}, from {origin['start_s']:.1f} s")
players.players(items, columns=3)

# %% [markdown]
# ## Look
#
# We expect echoes and rooms to fill the gaps between sounds. Distortion should fill the upper bands, and modulation
# (flanger, chorus, phaser) should draw thin lines that move. {numref}`fig-effects-wet` shows the {term}`log-mel spectrogram` of the same clip under each
# effect.

# %%
layout = SpectrogramConfig()
pictures = {}
for name, audio in wet.items():
    pictures[name] = spectrogram(audio, layout)  # (band, frame), dB

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-effects-wet", "caption": "One clip, dry (clean) and under eleven effects, at equal loudness: log-mel spectrograms of 96 bands on one colour scale, whose lower end lies 60 dB below the dry clip's peak."}, "image": {"alt": "Twelve spectrograms of the same two-second clip in a grid. Delay and ambience fill the gaps between sounds; overdrive, bitcrush and combo change the upper bands; flanger, chorus and phaser look almost like the clean one."}}
top = float(pictures["clean"].max())
figure, axes = plt.subplots(3, 4, figsize=(8.2, 5.1), sharex=True, sharey=True)
for ax, name in zip(axes.flat, EFFECTS, strict=True):
    title = EFFECTS[name].label
    image = figures.show_spectrogram(
        ax, pictures[name], layout, top - 60, top, title
    )
    ax.label_outer()
figures.colour_bar(figure, image, axes, "power / dB")
plt.show()

# %% [markdown]
# The **trace** of an effect is the wet spectrogram minus the dry one, in dB. We cannot hear what lies 60 dB below the dry clip's peak. We call that level the floor. All values below the floor are first raised to it. {numref}`fig-effects-difference` shows the traces.


# %%
def trace(dry_db: np.ndarray, wet_db: np.ndarray) -> np.ndarray:
    """Wet minus dry spectrogram, above a floor: (band, frame), dB."""
    floor = dry_db.max() - 60
    return np.maximum(wet_db, floor) - np.maximum(dry_db, floor)


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-effects-difference", "caption": "Wet minus dry, in dB, both cut off 60 dB below the dry clip's peak. Red: the effect added energy; blue: it took some away."}, "image": {"alt": "Eleven difference spectrograms. Overdrive, multiband, bitcrush and combo show patches in some bands, with stripes in time; delay and ambience are red in the pauses; flanger, chorus and phaser are faint with thin moving lines."}}
names = [name for name in EFFECTS if name != "clean"]
figure, axes = plt.subplots(3, 4, figsize=(8.2, 5.1), sharex=True, sharey=True)
axes[0, 0].set_axis_off()
for ax, name in zip(axes.flat[1:], names, strict=True):
    change = trace(pictures["clean"], pictures[name])
    title = EFFECTS[name].label
    image = figures.show_spectrogram(
        ax, change, layout, -30, 30, title, cmap="RdBu_r"
    )
    ax.label_outer()
# The hidden panel counts as the outer one, so its neighbour gets labels here.
axes[0, 1].tick_params(labelleft=True)
axes[0, 1].set_ylabel("frequency / Hz")
figures.colour_bar(figure, image, axes, "wet minus dry / dB")
plt.show()

# %% [markdown]
# **What we see.** On speech with fixed settings there are three kinds:
#
# - Overdrive, multiband, ring modulator, bitcrush and combo leave a large trace. Parts of it are horizontal bands, as from a fixed filter. Vertical stripes cross them, most of all in multiband.
# - Delay, ambience and compressor leave a large trace, too, but most of it moves with the sound. As we expected, delay and ambience fill the gaps.
# - Flanger, chorus and phaser leave the faintest traces, and these move.
#
# Combo is a distortion that empties the upper bands: it keeps only a narrow band of frequencies. The eye only guesses how much of a trace stands still, so we measure it.
#
# ## How large is the trace, and does it stand still?
#
# Write $d_{bt}$ for the trace in band $b$ and frame $t$, and $\bar d_b$ for its average over time. A fixed filter adds the same number of decibels to a band in every frame, so it can explain $\bar d_b$
# and nothing else. In pauses both clips lie at the floor and the trace is zero there. So even a fixed filter has a trace that changes a little with time. The mean square of the trace splits into this fixed part and a moving one,
#
# ```{math}
# :label: trace-split
# \mathrm{mean}_{bt}\, d_{bt}^2 = \mathrm{mean}_b\, \bar d_b^{\,2} + \mathrm{mean}_{bt}\,(d_{bt} - \bar d_b)^2,
# ```
#
# because $d_{bt} - \bar d_b$ averages to zero over time in each band. The *size* of the trace is the root of the left side of {eq}`trace-split`, in dB. The *fixed share* is the first term on the right divided by
# the left side.


# %%
def size_and_share(change: np.ndarray) -> tuple[float, float]:
    """Size of a trace (band, frame) in dB, and its fixed share."""
    total = np.square(change).mean()
    fixed = np.square(change.mean(axis=1)).mean()  # axis 1 is time
    return np.sqrt(total), fixed / total


# %% [markdown]
# We measure both on 24 clips, for every effect but clean (`names`). The fixed share matters on later pages: an embedding that averages the spectrogram over time keeps only the fixed part of the trace.

# %%
rows = []
for number in range(24):
    dry_db = spectrogram(source[number][0], layout)
    for name in names:
        wet_db = spectrogram(wet_clip(name, number), layout)
        size_db, fixed_share = size_and_share(trace(dry_db, wet_db))
        rows.append((name, size_db, fixed_share))
columns = ["effect", "size_db", "fixed_share"]
measured = pd.DataFrame(rows, columns=columns).groupby("effect", sort=False)
means, spreads = measured.mean(), measured.std()

# %% tags=["nbval-ignore-output", "hide-input"] mystnb={"figure": {"name": "fig-effects-trace", "caption": "Size of the trace of each effect, and the share of it that a fixed filter would explain; means over 24 clips, bars: standard deviation over the clips."}, "image": {"alt": "Scatter of eleven effects. Overdrive, multiband, combo, ring modulator and bitcrush are large and half fixed; delay, ambience and compressor are mostly moving; flanger, chorus and phaser are small and moving."}}
figure, ax = plt.subplots(figsize=(7.2, 3.9))
for name in names:
    ax.errorbar(
        means.loc[name, "size_db"],
        means.loc[name, "fixed_share"],
        xerr=spreads.loc[name, "size_db"],
        yerr=spreads.loc[name, "fixed_share"],
        color=figures.EFFECT_COLOURS[name],
        marker=figures.EFFECT_MARKERS[name],
        ls="",
        ms=8,
        elinewidth=0.7,
        label=EFFECTS[name].label,
    )
ax.set(
    xlabel="size of the trace / dB",
    ylabel="share of the trace that stands still (0 to 1)",
    ylim=(0, 1),
    xlim=(0, None),
)
figure.legend(loc="outside right center", frameon=False)
sns.despine(ax=ax)
page.key_figure(figure)
plt.show()

# %% tags=["nbval-ignore-output", "hide-cell"]
for name in names:
    page.record_all(f"effects.{name}", means.loc[name].to_dict())

# %% [markdown]
# **What we see.** A fixed filter explains {glue:text}`effects.overdrive.fixed_share:.2f` of the trace of overdrive and
# {glue:text}`effects.multiband.fixed_share:.2f` of that of multiband. It explains only
# {glue:text}`effects.delay.fixed_share:.2f` for delay and {glue:text}`effects.flanger.fixed_share:.2f` for flanger.
#
# The flanger is also the faintest of the report's five: the size of its trace is {glue:text}`effects.flanger.size_db:.1f` dB, that of overdrive's
# {glue:text}`effects.overdrive.size_db:.1f` dB. Two clips of different voices probably differ by much more than 1.5 dB. We do not measure this here. If so, a distance between raw spectrograms hardly notices the flanger.
#
# Both findings come back on [maps of raw spectrograms](09_umap_analysis), on which similar clips lie close together. The report drew such maps. The report's smallest map shows two effects: overdrive, which mostly stands still, and delay, which mostly moves. Its largest map has five effects; the fifth is the faint flanger.
#
# ## The finding, asserted
#
# First the single clip: every wet clip is finite and as long as the dry one, with the same loudness within 0.5 LU. Clean is equal to the dry clip; every other effect changes some sample by more
# than 0.001.

# %%
for name, audio in wet.items():
    assert np.isfinite(audio).all() and audio.shape == dry.shape, name
    error = abs(loudness(audio, rate_hz) - lufs_before)
    assert error < 0.5, f"{name}: another loudness"
    largest = np.abs(audio - dry).max()
    assert name == "clean" or largest > 1e-3, f"{name}: equal to dry"
assert np.array_equal(wet["clean"], dry)

# %% [markdown]
# Then the traces of the report's five effects. The fixed shares of overdrive and multiband exceed those of the other three by more than 0.1, and the trace of the flanger is the smallest.
# With other corpora or settings the result may differ. The page then prints whether the finding holds.

# %%
share, size = means["fixed_share"], means["size_db"]
still = share[["overdrive", "multiband"]]
moving = share[["delay", "ambience", "flanger"]]
gap = still.min() - moving.max()
words = "overdrive and multiband stand still more than the others"
page.finding(words, gap > 0.1, gap)
others = size[["delay", "overdrive", "multiband", "ambience"]]
times = size["flanger"] / others.min()
page.finding("of the five effects, flanger is the faintest", times < 1, times)

# %% [markdown]
# ````{admonition} Exercise
# Is the same true on music with random settings? Change `corpus` and `settings`. Say first which effects you expect
# to lose most of their trace.
#
# ```{admonition} A solution
# :class: dropdown
# `papermill notebooks/02_audio_effects.ipynb out.ipynb -p corpus music -p settings random`. We expect delay,
# ambience and compressor to lose most: dense music has few pauses to fill, and its level is even already. The sizes are
# in `means`. The last lines of the page say whether the same effects stand still.
# ```
# ````
#
# ## Provenance

# %% tags=["nbval-ignore-output"]
page.provenance(parameters)
