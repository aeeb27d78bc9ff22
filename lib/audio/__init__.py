"""Sound only: loudness, effects, plug-ins, spectrograms, cepstral features."""
