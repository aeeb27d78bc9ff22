# %% [markdown]
# # What do we hear?
#
# The [report](../intro), the student's write-up that this book examines, trains on clips of speech (from the corpus VCTK) and music (MUSDB18) with audio effects.
# What do the clips of this book contain, and how do we keep training and test data apart?
#
# Each clip is two seconds of one voice or one song, and all clips are equally loud. The spectrum of a single clip often gives away whose it is, so each person and each song belongs to
# training or to testing, never to both.
#
# ```{glue:figure} key-01
# :name: fig-key-01
# :alt: Spectrograms of six clips. Each row is a corpus and each column a split. Speech shows harmonics and pauses; the music differs from song to song.
#
# One clip of each corpus (row), from training, validation and test (column): power in dB over time in s and frequency in Hz. The titles name the person or song.
# ```
#
# ```{admonition} This page
# :class: tip
# **In**: the two corpora in `data/`, speech by eight persons and music. **Out**: clips of two seconds, splits into
# training, validation and test, examples to hear and to see, the average spectrum of every voice and song. **Time**: about half a minute
# on one CPU core; a GPU is not used. **Number to expect**: no person and no song in two splits; the spectra of
# the voices that were recorded for telephone systems end at 7.7 to 7.8 kHz.
# ```

# %% tags=["parameters"]
corpora: list = ["speech", "music"]  # speech, music, folder:<path>
clip_s: float = 2.03  # length of a clip, seconds
seed: int = 0  # seed of the clips
split_seed: int = 0  # seed of the splits

# %%
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from lib.audio import SpectrogramConfig, loudness, spectrogram
from lib.audio.spectrograms import frequencies_hz
from lib.book import figures, page, players
from lib.data import ClipConfig, Clips, load_corpus, manifest, split_groups
from lib.data.corpora import content_of
from lib.data.splits import SPLITS
from lib.embeddings import knn_accuracy

parameters = page.begin("01_dataset_preparation", globals())

# %% [markdown]
# ## The recordings
#
# (The cell above checks the parameters of the page with `page.begin`; from here on they are `parameters.corpora` and so on. Below, `page.source` shows the code of a function, and `# fmt: skip` is for the code formatter.)
#
# The report added speech to music "to help with debugging". Its data sets are large, and MUSDB18 may not be passed on. So this book comes with smaller sets of the same two kinds, under licences that
# let everybody copy them.
#
# A *recording* is one file, or several that sound together, such as a guitar and the band behind it. A {term}`group` is one person or one song. Allison Smith reads English and
# Spanish: two languages, but one person and so one group. `load_corpus` lists the recordings of a corpus, each with its group, length and sampling rate.

# %%
recordings, rows = {}, []
for corpus in parameters.corpora:
    recordings[corpus] = load_corpus(corpus)
    for recording in recordings[corpus]:
        row = {"corpus": corpus, "group": recording.group}
        row["minutes"] = recording.seconds / 60
        row["rate in Hz"] = recording.rate_hz
        rows.append(row)
table = pd.DataFrame(rows)

# %% tags=["nbval-ignore-output", "hide-input"]
for corpus, part in table.groupby("corpus"):
    name = f"corpora.{page.slug(corpus)}"
    page.record(f"{name}.minutes", part["minutes"].sum())
    page.record(f"{name}.groups", part["group"].nunique())
    page.record(f"{name}.recordings", len(part))
known = pd.DataFrame(manifest()).drop_duplicates("group").set_index("group")
table["author"] = table["group"].map(known["author"]).fillna("-")
table["licence"] = table["group"].map(known["licence"]).fillna("-")
by_author = table.groupby(["corpus", "author", "licence", "rate in Hz"])
summary = by_author.agg(
    groups=("group", "nunique"),
    recordings=("group", "size"),
    minutes=("minutes", "sum"),
)
caption = (
    "The corpora by author. groups: persons or songs. rate: sampling rate of"
    " the files."
)
page.table(summary, "corpora", caption, 1)

# %% [markdown]
# **What we see.** There are {glue:text}`corpora.speech.minutes:.0f` minutes of speech by {glue:text}`corpora.speech.groups` persons,
# and {glue:text}`corpora.music.minutes:.0f` minutes of music in {glue:text}`corpora.music.groups` songs. The report's sets have
# 109 speakers and 150 songs. With so few voices we cannot expect a method to learn as much about voices in general as it could
# there. The sampling rates differ too, which will matter below: the files at 16,000 Hz were recorded for telephone systems.
# The [data card](../data_card) names every voice and song.
#
# ## Splits, by person and by song
#
# We divide groups, not clips, into three *splits*: training, validation (to choose the best epoch) and test. `split_groups` does so in four steps:
#
# 1. It notes which split the corpus itself gives to each group (as MUSDB18 does), if any. A group in two splits is an error (`BadInput`).
# 2. It shuffles the groups by a seed.
# 3. The first 20 % become the test set and the next 12 % the validation set, at least one group each. (`SHARES` holds the two shares.) A split that the corpus defines stays as it is. If
#    every group has a split already and one split is missing, such as validation, it takes groups from training.
# 4. Training gets the rest. A split without any group is an error: the corpus has too few.

# %%
page.source(split_groups)

# %%
splits, rows = {}, []
for corpus in parameters.corpora:
    splits[corpus] = split_groups(recordings[corpus], parameters.split_seed)
    for split, members in splits[corpus].items():
        for recording in members:
            row = {"corpus": corpus, "split": split, "group": recording.group}
            rows.append({**row, "minutes": recording.seconds / 60})
minutes = pd.DataFrame(rows).groupby(["corpus", "split", "group"], sort=False)
minutes = minutes["minutes"].sum().reset_index()

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-splits", "caption": "Every group, its minutes of sound, and the split it belongs to. A group is never divided."}, "image": {"alt": "Horizontal bars, one for each person or song, coloured by split: most are for training, a few for validation and test."}}
heights = []
for corpus in parameters.corpora:
    heights.append((minutes["corpus"] == corpus).sum() + 3)
figure, axes = plt.subplots(
    len(heights),
    1,
    figsize=(7, 0.19 * sum(heights)),
    height_ratios=heights,
    squeeze=False,
)
for ax, corpus in zip(axes[:, 0], parameters.corpora, strict=True):
    sns.barplot(
        minutes[minutes["corpus"] == corpus],
        y="group",
        x="minutes",
        hue="split",
        hue_order=SPLITS,
        dodge=False,
        ax=ax,
        legend=ax is axes[0, 0],
    )
    ax.set(title=page.slug(corpus), ylabel="", xlabel="")
    ax.tick_params(axis="y", labelsize=8, length=0)
axes[-1, 0].set_xlabel("minutes")
plt.show()

# %% [markdown]
# **What we see.** Every group has one colour: it lies in one split. Validation and test are small, one or two persons and a few songs. A result on them is a first sign, not a statement about all voices.
#
# ## Clips
#
# A *clip* is a short piece of a recording, here about two seconds. Clip number $i$ depends only on the recordings, on the settings in `ClipConfig` (such as the split, the length and
# the seeds) and on $i$. So it is the same in whatever order we ask for clips. It is drawn in four steps:
#
# 1. Draw a group. Each has the same chance, however much was recorded of it.
# 2. Draw one of its recordings, long ones more often, and a position in it. If the first or second half of the clip is silent there, go back to step 1.
# 3. Fade the clip in and out over 20 ms, so that the cuts do not click.
# 4. Scale it to a {term}`loudness` of -23 LUFS. LUFS is a level in dB that weights frequencies roughly as the ear does and leaves pauses out (ITU-R BS.1770-4).
#
# We take clip number 0 of each corpus and split. `Clips(...)[0]` returns its samples and a note of where they come from.

# %%
examples = {}
for corpus in parameters.corpora:
    for split in SPLITS:
        config = ClipConfig(
            corpus=corpus, split=split, clip_s=parameters.clip_s,
            seed=parameters.seed, split_seed=parameters.split_seed,
        )  # fmt: skip
        examples[corpus, split] = Clips(config, recordings[corpus])[0]
rate_hz = config.sample_rate_hz  # 24,000 samples per second in all clips

# %% tags=["hide-input"]
words = {
    "speech": "A voice, cut from a sentence.",
    "music": "A stretch of music, cut from a song.",
}
items = []
for (corpus, split), (audio, origin) in examples.items():
    label = f"{page.slug(corpus)}, {split}: {origin['group']}"
    transcript = words.get(corpus, "A recording.")
    transcript += f" From {origin['recording']}, at {origin['start_s']:.1f} s."
    items.append(players.player(audio, rate_hz, label, transcript))
players.players(items, columns=3)

# %% [markdown]
# **What we hear.** The clips are equally loud, but rooms, microphones and the highest frequencies differ a great deal.
#
# To see the clips we compute a {term}`log-mel spectrogram`. A window of 2,048 samples moves along the clip in steps of 512 samples, which is one *frame* every 21 ms. In each frame the power spectrum is summed
# into 96 *mel bands*, narrow at low frequencies and wide at high ones, much as the ear resolves them. The power in each band is given in dB.
# [A later page](04_spectrogram_vae) shows the code.

# %%
layout = SpectrogramConfig()
pictures = {}
for place, (audio, _) in examples.items():
    pictures[place] = spectrogram(audio, layout)  # (band, frame), dB
    bands, frames = pictures[place].shape
print(f"{bands} bands, {frames} frames per clip")

# %% tags=["nbval-ignore-output", "hide-input"] mystnb={"figure": {"name": "fig-clips", "caption": "The clips above as log-mel spectrograms, on one colour scale of 70 dB."}, "image": {"alt": "Spectrograms of clips of each corpus and split. Speech shows harmonics that rise and fall, and pauses; one piece of music fills all bands, one pulses, one has low notes only. Some voices are empty above about 8 kHz."}}
top = max(picture.max() for picture in pictures.values())
count = len(parameters.corpora)
figure, axes = plt.subplots(
    count,
    len(SPLITS),
    figsize=(8.5, 2.0 * count + 0.4),
    squeeze=False,
    sharex=True,
    sharey=True,
)
for ax, place in zip(axes.flat, examples, strict=True):
    audio, origin = examples[place]
    image = figures.show_spectrogram(
        ax, pictures[place], layout, top - 70, top, origin["group"]
    )
    ax.label_outer()
figures.colour_bar(figure, image, axes, "power / dB")
page.key_figure(figure)
plt.show()

# %% [markdown]
# **What we see.** Speech shows *harmonics*, parallel lines at multiples of the pitch that rise and fall with it, and dark pauses. Music differs from song to song. Some voices are empty above about 8 kHz.
#
# ## Every voice has its spectrum
#
# Would it matter if clips of one person were in training and in test? We take twelve clips of each group and average the power spectrum of each clip over time. The order of the sounds is then gone. What
# is left is mostly the voice, and how it was recorded (microphone, room, codec). We expect the voices to differ, and the ways of recording even more: the telephone voices were coded at a sampling rate of
# 16 kHz (codec G.722), so they have nothing above 8 kHz.
#
# With `kind="stft"` and `power=2.0` a spectrogram holds the power at each frequency, without mel bands and without dB. The clips come from the recordings of one group only (`own`), whichever split
# it is in (`split="all"`).

# %%
power = SpectrogramConfig(kind="stft", power=2.0)  # no bands, no dB


def average_spectra(corpus: str, group: str) -> np.ndarray:
    """Power spectrum of twelve clips of a group, averaged over time."""
    config = ClipConfig(
        corpus=corpus, split="all",
        clip_s=parameters.clip_s, seed=parameters.seed,
    )  # fmt: skip
    own = [each for each in recordings[corpus] if each.group == group]
    source = Clips(config, own)
    clips = np.stack([source[number][0] for number in range(12)])
    return spectrogram(clips, power).mean(axis=2)  # (clip, frequency)


# %% [markdown]
# The *band limit* of a group is the highest frequency at which its average spectrum is within 60 dB of its peak.

# %%
hz = frequencies_hz(power)
spectra, average_db, band_hz = {}, {}, {}
for corpus, group in minutes.groupby(["corpus", "group"]).groups:
    spectra[corpus, group] = average_spectra(corpus, group)
    average = spectra[corpus, group].mean(axis=0)  # over the clips
    decibels = 10 * np.log10(average / average.max())
    average_db[corpus, group] = decibels
    band_hz[corpus, group] = hz[decibels > -60].max()

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-spectra", "caption": "Long-term average spectrum of each group, twelve clips each, relative to its own peak. Where a curve drops steeply the recording ends, not the voice."}, "image": {"alt": "Line plots of power against frequency. Of the speech curves four drop at about 7.7 kHz, two at about 10.5 kHz; the two Dutch voices decline gradually. The music curves mostly reach 11.5 kHz."}}
figure, axes = plt.subplots(
    1, len(parameters.corpora), figsize=(9, 3.6), squeeze=False, sharey=True
)
for ax, corpus in zip(axes[0], parameters.corpora, strict=True):
    groups = [group for name, group in average_db if name == corpus]
    few = len(groups) <= 10
    for group in groups:
        ax.plot(
            hz,
            average_db[corpus, group],
            lw=1.2 if few else 0.6,
            label=group if few else None,
        )
    ax.set(title=page.slug(corpus), xlabel="frequency / Hz", ylim=(-90, 3))
    if few:
        ax.legend(fontsize=7, frameon=False, loc="lower left")
axes[0, 0].set_ylabel("power / dB")
plt.show()

# %% tags=["nbval-ignore-output", "hide-cell"]
for (corpus, group), limit in band_hz.items():
    person = re.sub(r"\W", "_", group)
    page.record(f"corpora.{page.slug(corpus)}.{person}.band_hz", limit)

# %% [markdown]
# **What we see.** The recordings of Allison Smith, one of the telephone voices, end at {glue:text}`corpora.speech.allison_smith.band_hz:.0f` Hz. Those of the two Czech actors,
# `fillets-cs-m` and `fillets-cs-v`, end at {glue:text}`corpora.speech.fillets_cs_m.band_hz:.0f` and {glue:text}`corpora.speech.fillets_cs_v.band_hz:.0f` Hz. The two Dutch voices, `fillets-nl-m` and
# `fillets-nl-v`, lose power gradually instead. (These limits come from twelve clips, those of the [data card](../data_card) from whole files.)
#
# ## Does one clip give its voice away?
#
# We let a classifier answer. Each clip is one point, its average spectrum in dB. (Adding 1e-10 keeps the logarithm finite.) The five nearest *other* clips, by Euclidean distance, vote for the
# person or song. `knn_accuracy` returns the share of clips for which the vote is right. Groups have equally many clips, so chance is one over the number of groups.

# %%
accuracy, chance = {}, {}
for corpus in parameters.corpora:
    points, labels = [], []
    for (name, group), values in spectra.items():
        if name == corpus:
            points.append(10 * np.log10(values + 1e-10))  # dB
            labels += [group] * len(values)
    accuracy[corpus] = knn_accuracy(np.concatenate(points), np.array(labels))
    chance[corpus] = 1 / len(points)

# %% tags=["nbval-ignore-output", "hide-cell"]
for corpus in parameters.corpora:
    name = f"corpora.{page.slug(corpus)}"
    page.record(f"{name}.voice_knn5", accuracy[corpus])
    page.record(f"{name}.voice_chance", chance[corpus])

# %% [markdown]
# **What we see.** The vote names the right person with an accuracy of {glue:text}`corpora.speech.voice_knn5:.2f`, where chance is
# {glue:text}`corpora.speech.voice_chance:.3f`. It names the right song with {glue:text}`corpora.music.voice_knn5:.2f`, where chance
# is {glue:text}`corpora.music.voice_chance:.3f`. The vote does not show whether the voice gave a clip away or its microphone, room and codec. For the splits it makes no difference.
#
# So with clips of one person in training and in test, a classifier could learn "this voice with this effect" and be praised for it. No number and no picture of the report is about speakers or songs outside its training set.
# In this book errors and accuracies on sound are measured on voices and songs outside the training set, unless the page says otherwise.
#
# ## The finding, asserted
#
# First the splits: none is empty, no group is in two of them, and no recording is lost. We also hash the bytes of every file: no sound stands twice, under whatever name. Each of our examples comes from a group of its split, and its loudness is -23 LUFS within 0.1 dB.

# %%
for corpus, parts in splits.items():
    groups, contents = [], []
    for split in SPLITS:
        contents += [content_of(r) for r in parts[split]]
        own = {recording.group for recording in parts[split]}
        assert own, f"{corpus}: an empty split"
        audio, origin = examples[corpus, split]
        assert origin["group"] in own, f"{corpus}: a clip of another split"
        assert abs(loudness(audio, rate_hz) + 23) < 0.1, f"{corpus}: loudness"
        groups += own
    assert len(groups) == len(set(groups)), f"{corpus}: a group in two splits"
    total = sum(len(part) for part in parts.values())
    assert total == len(recordings[corpus]), f"{corpus}: recordings lost"
    assert len(set(contents)) == total, f"{corpus}: one sound stands twice"

# %% [markdown]
# Then the voices. `page.finding` asserts a finding when a page runs with the parameters of this book's own runs. With any others it prints whether the finding holds, and its number. On each corpus the accuracy of the vote exceeds chance by more than 0.2. Speech at 16 kHz ends at 8 kHz or below, and the widest of the other speech ends above.

# %%
for corpus in parameters.corpora:
    beyond_chance = accuracy[corpus] - chance[corpus]
    words = f"{corpus}: the spectrum of a clip names its voice"
    page.finding(words, beyond_chance > 0.2, beyond_chance)
if "speech" in parameters.corpora:
    rates = table[table["corpus"] == "speech"].groupby("group")["rate in Hz"]
    at_16_khz, others = [], []
    for group, rate in rates.first().items():
        same_rate = at_16_khz if rate == 16000 else others
        same_rate.append(band_hz["speech", group])
    limited = max(at_16_khz) <= 8000 < max(others)
    page.finding("voices at 16 kHz end at 8 kHz", limited, max(others))

# %% [markdown]
# ````{admonition} Exercise
# Take a folder of your own sound files, with one sub-folder for each person or song, and run this page on it.
#
# ```{admonition} A solution
# :class: dropdown
# `papermill notebooks/01_dataset_preparation.ipynb out.ipynb -y 'corpora: ["folder:/path/to/sounds"]'`. At least three
# sub-folders are needed, one for each split. Files that are broken, silent or shorter than a clip are left out, and a
# warning counts and names them.
# ```
# ````
#
# ## Provenance

# %% tags=["nbval-ignore-output"]
page.provenance(parameters)
