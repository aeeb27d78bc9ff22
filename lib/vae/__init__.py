"""The VAEs: losses, networks, training, evaluation, the collapse alarm."""
