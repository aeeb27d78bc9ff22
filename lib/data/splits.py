"""Splits into training, validation and test that share no person or song. From chapter 01 on."""

from collections.abc import Sequence

import numpy as np

from lib import BadInput
from lib.data.recordings import Recording

SPLITS = ("train", "validation", "test")
SHARES = {"test": 0.2, "validation": 0.12}  # 8 persons give 5, 1 and 2; 24 songs give 16, 3 and 5


def split_groups(recordings: Sequence[Recording], split_seed: int) -> dict[str, list[Recording]]:
    """Divide recordings by group (person or song) into "train", "validation" and "test".

    Of the groups 20 % are for test and 12 % for validation, at least one each. A split that the
    corpus itself defines is kept; one that it lacks takes groups without a split, else some of the
    training groups. BadInput: a group that the corpus puts in two splits, an unknown split, or
    fewer groups than splits.
    """
    split_of = {}
    for recording in recordings:
        if split_of.setdefault(recording.group, recording.split) != recording.split:
            raise BadInput(
                f"group {recording.group!r} stands in two splits of its corpus; "
                "a group must be in one"
            )
        if recording.split not in (None, *SPLITS):
            raise BadInput(
                f"split {recording.split!r} of a recording is unknown; "
                f"known are {', '.join(SPLITS)}"
            )
    given = set(split_of.values())
    order = np.random.default_rng(split_seed).permutation(sorted(split_of)).tolist()
    for name, share in SHARES.items():
        if name in given:
            continue
        free = [group for group in order if split_of[group] is None]
        if not free:
            free = [group for group in order if split_of[group] == "train"]
        for group in free[: max(1, round(share * len(split_of)))]:
            split_of[group] = name
    splits = {name: [] for name in SPLITS}
    for recording in recordings:
        splits[split_of[recording.group] or "train"].append(recording)
    for name, members in splits.items():
        if not members:
            raise BadInput(
                f"{len(split_of)} group(s) {sorted(split_of)[:5]} cannot fill the splits "
                f"{', '.join(SPLITS)}: {name} would be empty; "
                "give at least three persons, songs or sub-folders"
            )
    return splits
