"""Protocols choose the frames that arithmetic says, on drives made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from projects.DistillNeRF.evaluation.protocols import PROTOCOLS, Choice, Frame, protocol_named
from projects.DistillNeRF.evaluation.protocols.base import keyframes
from projects.DistillNeRF.utils.errors import InputError


def drive(count: int, period: float, step: float = 1.0, keys: int = 1, start: float = 1.6e9) -> list[Frame]:
    """Make a straight drive: ``step`` meters and ``period`` seconds between frames, every ``keys``-th a keyframe."""
    return [
        Frame(
            start + number * period, np.array([number * step * 0.6, 7 - number * step * 0.8, 1.0]), number % keys == 0
        )
        for number in range(count)
    ]


def choose(name: str, frames: list[Frame]) -> Choice:
    return protocol_named(name).choose(frames)


def skipped(choice: Choice) -> dict[str, int]:
    return {what: count for what, count in choice.skipped.items() if count}


def test_the_second_keyframe_and_the_next_one():
    choice = choose('distillnerf', drive(8, 0.5))
    [sample] = choice.samples
    assert sample.input == 1 and sample.targets == (2, 1)
    assert sample.colors == sample.depths == {'': (1,), 'next': (2,)} and not skipped(choice)


@pytest.mark.parametrize('count', [1, 2])
def test_a_scene_without_a_third_keyframe_is_left_out(count):
    choice = choose('distillnerf', drive(count, 0.5))
    assert not choice.samples and skipped(choice) == {'scenes of fewer than three keyframes': 1}


@pytest.mark.parametrize(
    ('period', 'expected'), [(0.5, [0, 1, 2, 3]), (0.1, [0, 5, 10]), (1.0, [0, 1, 2, 3]), (0.26, [0, 2, 4]), (0.45, 4)]
)
def test_keyframes_are_half_a_second_apart_or_as_they_are(period, expected):
    frames = drive(11 if period == 0.1 else 5 if period == 0.26 else 4, period)
    found = keyframes(frames)
    assert found == expected or len(found) == expected


def test_frames_between_keyframes_are_no_keyframes():
    assert keyframes(drive(13, 1 / 12, keys=6)) == [0, 6, 12]


def test_neighbors_of_the_half_second_keyframes_at_ten_frames_per_second():
    """Frames 0, 5, 10, ...; 12 comes too late for another one."""
    frames = drive(13, 0.1)
    single, several = choose('drivingforward_sf', frames), choose('drivingforward_mf', frames)
    assert [(s.input, s.colors) for s in single.samples] == [(0, {'novel': (5,)}), (5, {'novel': (10,)})]
    assert [(s.input, s.colors) for s in several.samples] == [(0, {'novel': (5,)})]
    assert all(s.depths == {'': (s.input,)} and s.input in s.targets for s in single.samples + several.samples)


def test_multi_frame_targets_lie_between_two_keyframes():
    samples = choose('drivingforward_mf', drive(5, 0.5)).samples
    assert [s.colors['novel'] for s in samples] == [(1,), (2,), (3,)]
    assert [s.input for s in samples] == [0, 1, 2]


@pytest.mark.parametrize(
    ('name', 'count', 'words'), [('drivingforward_sf', 1, 'two'), ('drivingforward_mf', 2, 'three')]
)
def test_scenes_too_short_for_a_target_are_left_out(name, count, words):
    choice = choose(name, drive(count, 0.5))
    assert not choice.samples and skipped(choice) == {f'scenes of fewer than {words} keyframes': 1}


def test_bins_of_the_way():
    """0.8 m per frame: bins of four frames, 0 to 3, 4 to 7; the middle of the first is 1.6 m, frame 2 exactly."""
    choice = choose('omniscene', drive(11, 1 / 12, 0.8))
    assert [s.input for s in choice.samples] == [2, 6]
    assert [s.targets for s in choice.samples] == [(2, 0, 3), (6, 4, 7)]
    assert choice.samples[1].colors == {'': (6,), 'novel': (4, 7), 'all': (6, 4, 7)}
    assert skipped(choice) == {'bins that a drive ends in': 1}


def test_of_two_frames_as_near_to_the_middle_the_earlier_one():
    """Frames at 0, 1.2, 2.0, 3.1 m: 1.2 and 2.0 are both 0.4 m from the middle."""
    places = [0.0, 1.2, 2.0, 3.1, 3.3]
    frames = [Frame(number / 12, np.array([place, 0.0, 0.0])) for number, place in enumerate(places)]
    [sample] = choose('omniscene', frames).samples
    assert sample.targets == (1, 0, 3)


def test_bins_with_too_few_frames_are_counted_and_so_are_those_that_the_car_jumps_over():
    """2 m per frame: bins of two frames or one; 7 m: two bins of one frame in four are empty."""
    choice = choose('omniscene', drive(9, 1 / 12, 2.0))
    assert not choice.samples
    assert skipped(choice) == {'bins of fewer than three frames': 5, 'bins that a drive ends in': 1}
    assert skipped(choose('omniscene', drive(3, 1 / 12, 7.0)))['bins of fewer than three frames'] == 4


def test_a_car_that_stands_is_in_one_bin():
    """It waits for 20 frames, then drives on by 0.5 m per frame: the bin has the waiting frames and six more."""
    places = [0.0] * 20 + [0.5 * number for number in range(1, 8)]
    frames = [Frame(number / 12, np.array([0.0, place, 0.0])) for number, place in enumerate(places)]
    [sample] = choose('omniscene', frames).samples
    assert sample.targets == (22, 0, 25)
    assert not choose('omniscene', drive(30, 1 / 12, 0.0)).samples


def test_a_turn_is_measured_along_the_way():
    """Round a square of 0.8 m steps back to the start: 3.2 m of way, then on."""
    corners = [(0, 0), (0.8, 0), (0.8, 0.8), (0, 0.8), (0, 0)]
    frames = [Frame(number / 12, np.array([*corner, 0.0])) for number, corner in enumerate(corners)]
    assert [s.targets for s in choose('omniscene', frames).samples] == [(2, 0, 3)]


def test_windows_of_ten_frames_per_second():
    """Contexts 0, 5, 10, 15; frames 2.5 apart go to the nearest of them, the last four to 15."""
    choice = choose('storm', drive(40, 0.1))
    assert [s.input for s in choice.samples] == [0, 5, 10, 15, 20, 25, 30, 35]
    assert [s.targets for s in choice.samples[:4]] == [(1, 2), (3, 4, 6, 7), (8, 9, 11, 12), (13, 14, 16, 17, 18, 19)]
    assert choice.samples[6].colors == choice.samples[6].depths == {'novel': (28, 29, 31, 32)}
    assert not skipped(choice)


@pytest.mark.parametrize(('count', 'windows', 'rest'), [(19, 0, 19), (20, 1, 0), (21, 1, 1), (55, 2, 15)])
def test_what_is_left_of_a_scene_after_its_windows_is_counted(count, windows, rest):
    choice = choose('storm', drive(count, 0.1))
    assert len(choice.samples) == 4 * windows
    assert skipped(choice).get('frames after the last whole window', 0) == rest


def test_of_two_context_frames_as_near_the_earlier_one():
    """Four frames per second: those at .25, .75, 1.25 s are in the middle between two contexts."""
    samples = choose('storm', drive(8, 0.25)).samples
    assert [(s.input, s.targets) for s in samples] == [(0, (1,)), (2, (3,)), (4, (5,)), (6, (7,))]


def test_windows_with_gaps_are_counted():
    """Without the frame at 0.5 s there is another 0.1 s off; without frames between there is nothing to score."""
    frames = drive(20, 0.1)
    gone = choose('storm', frames[:5] + frames[6:])
    assert not gone.samples and skipped(gone) == {'windows without a frame at 0, 0.5, 1 or 1.5 s': 1}
    sparse = choose('storm', drive(9, 0.5))
    assert not sparse.samples and skipped(sparse)['windows without frames between the inputs'] == 2
    assert skipped(choose('storm', drive(1, 0.1))) == {'scenes of a single frame': 1}


def test_times_may_be_off_by_a_little():
    rng = np.random.default_rng(0)
    shaken = [Frame(f.time + rng.uniform(-0.02, 0.02), f.place) for f in drive(41, 0.1)]
    choice = choose('storm', shaken)
    assert sorted(t for s in choice.samples for t in s.targets) == [n for n in range(40) if n % 5]


@pytest.mark.parametrize('name', sorted(PROTOCOLS))
@pytest.mark.parametrize('kind', ['town', 'pandaset', 'nuscenes'])
def test_no_frame_is_scored_twice_and_none_is_seen_twice(name, kind):
    frames = {
        'town': drive(15, 0.25, 1.0, keys=2),
        'pandaset': drive(55, 0.1, 0.4),
        'nuscenes': drive(235, 1 / 12, 0.5, keys=6),
    }[kind]
    protocol = protocol_named(name)
    seen = frames if protocol.between else [frame for frame in frames if frame.key]
    samples = protocol.choose(seen).samples
    assert samples
    assert len({s.input for s in samples}) == len(samples)
    for group in {group for s in samples for group in s.colors}:
        scored = [frame for s in samples for frame in s.colors.get(group, ())]
        assert len(scored) == len(set(scored))
    for s in samples:
        used = {frame for groups in (s.colors, s.depths) for chosen in groups.values() for frame in chosen}
        assert used <= set(s.targets) and len(set(s.targets)) == len(s.targets)
        assert '' not in s.colors or s.colors[''] == (s.input,)
        assert s.input not in s.colors.get('novel', ())


def test_context_frames_are_never_scored():
    samples = choose('storm', drive(40, 0.1)).samples
    assert not {s.input for s in samples} & {t for s in samples for t in s.targets}


@pytest.mark.parametrize('name', sorted(PROTOCOLS))
def test_a_protocol_says_all_about_itself(name):
    protocol = protocol_named(name)
    assert protocol.name == name
    about = protocol.describe()
    assert all(about[field] for field in ('data', 'frames', 'mask', 'colors', 'psnr', 'scores'))
    text = ' '.join(type(protocol).__doc__.split())
    for height, width in protocol.sizes:
        assert f'{height} x {width}' in text or 'Sizes' in text
    assert 'eft open' in text or 'left open' in text


def test_an_unknown_protocol_is_refused():
    with pytest.raises(InputError, match=r"protocol 'storms': no such protocol; choose from distillnerf, omniscene"):
        protocol_named('storms')
