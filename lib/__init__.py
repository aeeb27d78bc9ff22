"""The library behind *The Average Spectrogram*, in rooms that import one another one way.

runtime     stages, atomic files, code identity, progress, provenance
theory      components and collapse, in numpy
audio       loudness, effects, spectrograms, cepstral features
data        corpora, recordings, splits, clips, renderings, batches
vae         losses, networks, training, evaluation, the collapse alarm
embeddings  methods compared, classifier, probes, maps
book        what a page calls: parameters, tables, figures, players, widgets
predict, download   commands
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the checkout, whatever the working directory
__version__ = "0.1.0"


class BadInput(ValueError):
    """A user's mistake: which file or parameter, its value, and what would be right."""
