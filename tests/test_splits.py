"""Splits: no group on two sides, every recording on one, and what a corpus says itself is kept."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.clips import ClipConfig, Clips
from lib.data.corpora import load_corpus
from lib.data.recordings import Recording
from lib.data.splits import SPLITS, split_groups


def corpus(groups: dict[str, str | None]) -> list[Recording]:
    """Three recordings of each group, whose own split is given."""
    return [
        Recording("made", group, (), 24000, 5.0, f"{group}/{number}", split)
        for group, split in groups.items()
        for number in range(3)
    ]


def unsplit(count: int) -> list[Recording]:
    return corpus({f"g{number}": None for number in range(count)})


def groups_of(recordings: list[Recording]) -> set[str]:
    return {recording.group for recording in recordings}


@settings(max_examples=25, deadline=None)
@given(count=st.integers(3, 120), seed=st.integers(0, 2**32))
def test_splits_are_disjoint_and_complete(count, seed):
    recordings = unsplit(count)
    splits = split_groups(recordings, seed)
    groups = [groups_of(splits[name]) for name in SPLITS]
    assert all(groups) and sum(map(len, groups)) == count == len(set.union(*groups))
    assert sorted(r.name for side in splits.values() for r in side) == [
        r.name for r in sorted(recordings, key=lambda r: r.name)
    ]
    again = split_groups(recordings[::-1], seed)  # the order of the list does not matter
    assert [groups_of(again[name]) for name in SPLITS] == groups


@pytest.mark.parametrize(
    ("count", "sizes"), [(3, [1, 1, 1]), (8, [5, 1, 2]), (24, [16, 3, 5]), (110, [75, 13, 22])]
)
def test_split_sizes(count, sizes):
    splits = split_groups(unsplit(count), 0)
    assert [len(groups_of(splits[name])) for name in SPLITS] == sizes


def test_a_split_changes_with_its_seed_and_clips_take_it():
    recordings = unsplit(24)
    tests = set()
    for seed in range(5):
        test = groups_of(split_groups(recordings, seed)["test"])
        clips = Clips(ClipConfig(corpus="made", split="test", split_seed=seed), recordings)
        assert groups_of(clips.recordings) == test
        tests.add(frozenset(test))
    assert len(tests) == 5


def test_a_corpus_keeps_its_own_split_and_lends_validation_from_training():
    own = {f"g{number}": "test" if number < 4 else "train" for number in range(12)}
    splits = split_groups(corpus(own), 0)
    assert groups_of(splits["test"]) == {group for group, split in own.items() if split == "test"}
    assert groups_of(splits["validation"]) and groups_of(splits["validation"]) < set(list(own)[4:])


def test_embedded_corpora_share_no_person_and_no_song():
    for name in ("speech", "music"):
        sides = split_groups(load_corpus(name), 0)
        files = [{path for r in side for path in r.paths} for side in sides.values()]
        assert all(files) and sum(map(len, files)) == len(set.union(*files))
    people = groups_of(load_corpus("speech"))
    assert sum("allison" in person for person in people) == 1  # one person, in two languages
