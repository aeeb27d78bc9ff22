"""The thin library behind *The Average Spectrogram*: what at least two stories share, and nothing else.

Modules import one another in the order in which data flows, never back:
apart, mp4, recordings, layouts, vctk, musdb18, corpora, clips, plugins, effects, spectrograms, render, then objective,
theory, vae, alarm, measures, training, then embeddings and figures; `predict` is a command.
"""

from pathlib import Path

ROOT = (
    Path(__file__).resolve().parents[1]
)  # the checkout, wherever the caller's working directory is
__version__ = "0.1.0"


class BadInput(ValueError):
    """A user's mistake: the message names the file or parameter, the value, and what would be right."""
