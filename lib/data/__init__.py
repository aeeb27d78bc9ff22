"""From files to batches: corpora, recordings, splits, clips, renderings."""
