# %% [markdown]
# # What do we hear?
#
# ```{admonition} This page
# :class: tip
# **In**: the corpora in `data/`: speech by eight persons, music by the song. **Out**: clips of two seconds, splits by
# person and by song, examples to hear and to see, the average spectrum of every voice. **Time**: about half a minute
# on one CPU core; a GPU is not used. **Number to expect**: no person and no song in two splits; a band limit of about
# 7.7 kHz for the telephone-system voices.
# ```
#
# The report added speech (VCTK) to music (MUSDB18) "to help with debugging". Both sets are large, and MUSDB18 may not
# be passed on, so this book embeds smaller ones of the same two kinds that everybody may have. This page shows what is
# in them, how they are cut, and the one rule that every later accuracy hangs on: a person or a song is either for
# training or for testing, never for both.

# %% tags=["parameters"]
corpora: list = ["speech", "music"]  # speech, music, folder:<path>
clip_s: float = 2.03  # length of a clip, seconds
seed: int = 0  # of the clips
split_seed: int = 0  # of the splits

# %%
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from lib.audio import levels, spectrograms
from lib.book import figures, players
from lib.book import page as story
from lib.data import clips
from lib.data.corpora import load_corpus, manifest
from lib.data.splits import SPLITS, split_groups
from lib.embeddings import maps as embeddings
from lib.runtime.progress import progress

parameters = story.begin("01_dataset_preparation", globals())
layout = spectrograms.SpectrogramConfig()
names = {corpus: story.slug(corpus) for corpus in parameters.corpora}

# %% [markdown]
# ## The recordings
#
# A *recording* is one file, or several that sound together, like a guitar and its backing. A {term}`group` is a person or a
# song. Allison Smith reads English and Spanish: two languages, one person, one group.

# %%
recordings = {corpus: load_corpus(corpus) for corpus in parameters.corpora}
table = pd.DataFrame(
    [
        vars(each) | {"corpus": corpus}
        for corpus, part in recordings.items()
        for each in part
    ]
)
known = (
    pd.DataFrame(manifest())
    .drop_duplicates("group")
    .set_index("group")[["author", "licence"]]
)
table = (
    table.groupby(["corpus", "group"])
    .agg(
        recordings=("name", "count"),
        minutes=("seconds", lambda s: s.sum() / 60),
        rate_hz=("rate_hz", "first"),
    )
    .join(known, on="group")
)
table.style.format(
    {"minutes": "{:.1f}", "rate_hz": "{:,}"}, na_rep="-"
).format_index(escape="html").set_uuid("corpora")

# %% tags=["nbval-ignore-output"]
for corpus, rows in table.groupby("corpus"):
    story.record(f"corpora.{names[corpus]}.minutes", rows["minutes"].sum())
    story.record(f"corpora.{names[corpus]}.groups", len(rows))
    story.record(
        f"corpora.{names[corpus]}.recordings", rows["recordings"].sum()
    )

# %% [markdown]
# What we see: {glue:text}`corpora.speech.minutes:.0f` minutes of speech by {glue:text}`corpora.speech.groups` persons,
# and {glue:text}`corpora.music.minutes:.0f` minutes of {glue:text}`corpora.music.groups` songs. The report's sets have
# 109 speakers and 150 songs: what a method can learn about voices in general, it cannot learn here. The sampling rates
# differ as well, which will matter below.
#
# ## Splits, by person and by song
#
# The order of the groups is shuffled by a seed; a fifth goes to the test set and an eighth to validation, at least one
# group each:

# %%
story.source(split_groups)

# %% mystnb={"figure": {"name": "fig-splits", "caption": "Every group, its minutes of sound, and the split it belongs to. A group is never divided."}, "image": {"alt": "Horizontal bars, one for each person or song, coloured by split: most are for training, a few for validation and test."}}
splits = {
    corpus: split_groups(part, parameters.split_seed)
    for corpus, part in recordings.items()
}
rows = [
    (c, r.group, s, r.seconds / 60)
    for c, parts in splits.items()
    for s, part in parts.items()
    for r in part
]
minutes = pd.DataFrame(rows, columns=["corpus", "group", "split", "minutes"])
minutes = minutes.groupby(["corpus", "group", "split"], as_index=False)[
    "minutes"
].sum()

heights = [
    minutes[minutes["corpus"] == corpus]["group"].nunique() + 3
    for corpus in parameters.corpora
]
figure, axes = plt.subplots(
    len(heights),
    1,
    figsize=(7, 0.19 * sum(heights)),
    height_ratios=heights,
    squeeze=False,
)
for ax, corpus in zip(axes[:, 0], parameters.corpora, strict=True):
    part = minutes[minutes["corpus"] == corpus]
    part = part.sort_values(
        "split",
        key=lambda column: column.map(SPLITS.index),
        kind="stable",
    )
    first = ax is axes[0, 0]
    sns.barplot(
        part,
        y="group",
        x="minutes",
        hue="split",
        hue_order=SPLITS,
        dodge=False,
        ax=ax,
        legend=first,
    )
    ax.set(
        title=names[corpus],
        ylabel="",
        xlabel="minutes" if ax is axes[-1, 0] else "",
    )
    ax.tick_params(axis="y", labelsize=8, length=0)
plt.show()

# %% [markdown]
# ## Clips
#
# A clip is a pure function of the corpus, a seed and its number: the same in any order, process or machine. Number $i$
# draws a group, each with equal chance, then a recording in it, then a position; a position where either half is
# silent is drawn again. The clip is faded over 20 ms and set to -23 LUFS. We expect to hear one level, whoever speaks
# or plays:

# %%
examples = {}
for corpus in parameters.corpora:
    for split in SPLITS:
        config = clips.ClipConfig(
            corpus=corpus,
            split=split,
            clip_s=parameters.clip_s,
            seed=parameters.seed,
            split_seed=parameters.split_seed,
        )
        examples[corpus, split] = clips.Clips(config, recordings[corpus])[0]
rate_hz = config.sample_rate_hz
words = {
    "speech": "A voice, cut from a sentence.",
    "music": "A stretch of music, cut from a song.",
}
players.players(
    [
        players.player(
            audio,
            rate_hz,
            f"{names[corpus]}, {split}: {about['group']}",
            f"{words.get(corpus, 'A recording.')} From {about['recording']}, at {about['start_s']:.1f} s.",
        )
        for (corpus, split), (audio, about) in examples.items()
    ],
    columns=3,
)

# %% [markdown]
# What we hear: one level indeed, and very different rooms, microphones and bands. As pictures, in 96 mel bands and one
# frame each 21 ms:

# %% mystnb={"figure": {"name": "fig-clips", "caption": "The clips above as log-mel spectrograms, on one colour scale of 70 dB."}, "image": {"alt": "Spectrograms of clips of each corpus and split. Speech shows harmonics that rise and fall, and pauses; one piece of music fills all bands, one pulses, one has low notes only. Some voices are empty above about 8 kHz."}}
seen = {
    key: spectrograms.spectrogram(audio, layout)
    for key, (audio, _) in examples.items()
}  # dB
top = max(values.max() for values in seen.values())
shape = len(parameters.corpora), len(SPLITS)
figure, axes = plt.subplots(
    *shape,
    figsize=(8.5, 2.0 * shape[0] + 0.4),
    squeeze=False,
    sharex=True,
    sharey=True,
)
for ax, (key, values) in zip(axes.flat, seen.items(), strict=True):
    image = figures.show_spectrogram(
        ax, values, layout, top - 70, top, examples[key][1]["group"]
    )
    ax.label_outer()
figures.colour_bar(figure, image, axes, "power / dB")
plt.show()

# %% [markdown]
# ## Every voice has its spectrum
#
# Is it so bad if clips of one person stand on both sides of a split? We average the power spectrum of twelve clips for
# each group. We expect the voices to differ, and the recordings even more: speech for telephone systems was coded with
# G.722 at 16 kHz and has nothing above 8 kHz.

# %% mystnb={"figure": {"name": "fig-spectra", "caption": "Long-term average spectrum of each group, twelve clips each, relative to its own peak. Where a curve drops steeply the recording ends, not the voice."}, "image": {"alt": "Line plots of power against frequency. Of the speech curves four drop at about 7.7 kHz, two at about 10.5 kHz; the two Dutch voices decline gradually. The music curves mostly reach 11.5 kHz."}}
power = spectrograms.SpectrogramConfig(kind="stft", power=2.0)
hz, spectra = spectrograms.frequencies_hz(power), {}
for corpus in parameters.corpora:
    config = clips.ClipConfig(
        corpus=corpus,
        split="all",
        clip_s=parameters.clip_s,
        seed=parameters.seed,
    )
    for group in progress(
        table.loc[corpus].index, len(table.loc[corpus]), f"spectra {corpus}"
    ):
        source = clips.Clips(
            config, [r for r in recordings[corpus] if r.group == group]
        )
        audio = [source[index][0] for index in range(12)]
        pictures = spectrograms.spectrogram(
            np.stack(audio), power
        )  # (clip, bin, frame)
        spectra[corpus, group] = pictures.mean(axis=2)  # (clip, bin)
average_db = {
    key: 10 * np.log10(values.mean(axis=0) / values.mean(axis=0).max())
    for key, values in spectra.items()
}
band_hz = {
    key: float(hz[np.flatnonzero(values > -60)[-1]])
    for key, values in average_db.items()
}

figure, axes = plt.subplots(
    1, len(parameters.corpora), figsize=(9, 3.6), squeeze=False, sharey=True
)
for ax, corpus in zip(axes[0], parameters.corpora, strict=True):
    few = len(table.loc[corpus]) <= 10
    for (name, group), values in average_db.items():
        if name == corpus:
            ax.plot(
                hz,
                values,
                lw=1.2 if few else 0.6,
                label=group if few else None,
            )
    ax.set(title=names[corpus], xlabel="frequency / Hz", ylim=(-90, 3))
    if few:
        ax.legend(fontsize=7, frameon=False, loc="lower left")
axes[0, 0].set_ylabel("power / dB")
plt.show()

# %% tags=["nbval-ignore-output"]
told = {}
for corpus in parameters.corpora:
    keys = [key for key in spectra if key[0] == corpus]
    points = np.concatenate(
        [10 * np.log10(spectra[key] + 1e-10) for key in keys]
    )  # (clip, bin), dB
    told[corpus] = embeddings.knn_accuracy(
        points, np.repeat([group for _, group in keys], 12)
    )
    story.record(f"corpora.{names[corpus]}.voice_knn5", told[corpus])
    story.record(
        f"corpora.{names[corpus]}.voice_chance", 1 / len(keys)
    )  # as many clips of each
for (corpus, group), limit in band_hz.items():
    person = re.sub(r"\W", "_", group)
    story.record(f"corpora.{names[corpus]}.{person}.band_hz", limit)

# %% [markdown]
# What we see: the voice of Allison Smith ends at {glue:text}`corpora.speech.allison_smith.band_hz:.0f` Hz (60 dB below
# its peak), the Czech actors at {glue:text}`corpora.speech.fillets_cs_m.band_hz:.0f` and
# {glue:text}`corpora.speech.fillets_cs_v.band_hz:.0f` Hz. (Band limits are measured on twelve clips here, on whole files in
# the [data card](../data_card).) The spectrum of a single clip is enough to tell whose it is: the five nearest other
# clips vote for the right person with {glue:text}`corpora.speech.voice_knn5:.2f`, where chance is
# {glue:text}`corpora.speech.voice_chance:.2f`, for the right song with {glue:text}`corpora.music.voice_knn5:.2f`, where chance
# is {glue:text}`corpora.music.voice_chance:.2f`. With clips of one person on both sides, a classifier may learn
# "this voice, this effect" and be praised for it. No figure of the report is on unseen speakers or songs. In this book
# every trained model is tested on voices and songs that it never heard.
#
# ## The finding, asserted

# %%
for corpus, parts in splits.items():
    sides = [
        {recording.group for recording in parts[split]} for split in SPLITS
    ]
    assert all(sides), f"{corpus}: an empty split"
    assert sum(map(len, sides)) == len(set.union(*sides)), (
        f"{corpus}: a group in two splits"
    )
    assert sum(len(part) for part in parts.values()) == len(
        recordings[corpus]
    ), f"{corpus}: recordings lost"
    for split, side in zip(SPLITS, sides, strict=True):
        audio, about = examples[corpus, split]
        assert (
            about["group"] in side
            and abs(levels.loudness(audio, rate_hz) + 23) < 0.1
        ), f"{corpus}, {split}"
    assert told[corpus] > 1 / len(table.loc[corpus]) + 0.2, (
        f"{corpus}: voices cannot be told, which would be news"
    )
if "speech" in recordings:
    limits = pd.Series(
        {
            group: limit
            for (corpus, group), limit in band_hz.items()
            if corpus == "speech"
        }
    )
    coded = table.loc["speech", "rate_hz"] == 16000
    assert limits[coded].max() <= 8000 < limits.max(), (
        "a recording at 16 kHz with sound above 8 kHz"
    )
print(
    "No person and no song stands in two splits; clips are equally loud; a spectrum tells whose clip it is."
)

# %% [markdown]
# ````{admonition} Exercise
# Take a folder of your own sound files, one sub-folder for each person or song, and make this page for it.
#
# ```{admonition} A solution
# :class: dropdown
# `papermill notebooks/01_dataset_preparation.ipynb out.ipynb -y 'corpora: ["folder:/path/to/sounds"]'`. At least three
# sub-folders are needed, one for each split. Files that are broken, silent or shorter than a clip are left out, and a
# warning counts and names them.
# ```
# ````

# %% [markdown]
# ## Provenance

# %% tags=["nbval-ignore-output"]
story.provenance(parameters)
