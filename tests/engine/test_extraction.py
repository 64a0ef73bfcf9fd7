"""The loop over images: it overlaps, resumes, and never mixes what was made in different ways."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from projects.DistillNeRF.datasets.infos import load_infos, save_infos
from projects.DistillNeRF.engine.extraction import (
    Extraction,
    ExtractionOptions,
    ImageTask,
    Loaded,
    Stages,
    extract,
    list_tasks,
    part_of,
    read_task_image,
    run_stages,
    target,
    usual_workers,
)
from projects.DistillNeRF.utils.files import save_npy
from tests.helpers.boxworld import CAMERAS, BoxWorld, save
from tests.helpers.refusals import assert_refused

FILES = 18


def names(image, view: str) -> dict[str, str]:
    return {'mean': image['features']}


@pytest.fixture
def world(tmp_path) -> Path:
    """Three frames of six images, the info file among them."""
    return BoxWorld(size=(12, 20), lidar_frames=()).write(tmp_path / 'world')


def tasks_of(world: Path) -> list[ImageTask]:
    return list_tasks([world], names)


def options_in(folder: Path, **changes) -> ExtractionOptions:
    return replace(ExtractionOptions(folder / 'out', 'means', {'scale': 1}, batch=4, progress=False), **changes)


def mean_stages(options: ExtractionOptions, seen: list[int] | None = None) -> Stages:
    """Write the mean color of each image."""

    def compute(pixels: np.ndarray) -> np.ndarray:
        if seen is not None:
            seen.append(len(pixels))
        return pixels.mean((1, 2))

    def write(task: ImageTask, more: str, result: np.ndarray) -> str:
        save_npy(target(options, task, 'mean'), result)
        return more

    return Stages(lambda task: Loaded(read_task_image(task), task.camera), compute, write)


def run(world: Path, options: ExtractionOptions, seen: list[int] | None = None) -> Extraction:
    return extract(tasks_of(world), mean_stages(options, seen), options)


def test_every_image_gets_its_own_file(world, tmp_path):
    options, seen = options_in(tmp_path), []
    done = run(world, options, seen)
    assert (done.written, done.kept, seen) == (FILES, 0, [4, 4, 4, 4, 2])
    for task, camera in done.values:
        assert camera == task.camera
        found = np.load(options.out / task.info['images'][camera]['features'])
        assert found == pytest.approx(read_task_image(task).mean((0, 1)))
    # Red first, as another reader has it.
    with Image.open(world.parent / 'samples/FRONT/frame0.png') as image:
        red_green_blue = np.asarray(image.convert('RGB'), np.float64).mean((0, 1))
    assert np.load(options.out / 'FRONT/frame0.npy') == pytest.approx(red_green_blue)
    assert red_green_blue[0] != pytest.approx(red_green_blue[2], abs=5)


def test_what_is_there_and_current_is_kept(world, tmp_path):
    options = options_in(tmp_path)
    run(world, options)
    seen = []
    assert (lambda done: (done.written, done.kept))(run(world, options, seen)) == (0, FILES)
    assert seen == []
    (options.out / 'FRONT/frame1.npy').unlink()
    (options.out / 'LEFT/frame1.npy').write_bytes(b'cut')
    image = world.parent / 'samples/BACK/frame2.png'
    save(image, np.full((12, 20, 3), 7, np.uint8))
    done = run(world, options)
    assert {(task.camera, task.info['frame']) for task, _ in done.values} == {('FRONT', 1), ('LEFT', 1), ('BACK', 2)}
    assert np.load(options.out / 'BACK/frame2.npy') == pytest.approx([7, 7, 7])
    # An older image that comes in place of another one is another image, too.
    os.utime(image, (1, 1))
    assert run(world, options).written == 1


def test_a_file_whose_line_was_lost_is_made_again(world, tmp_path):
    options = options_in(tmp_path)
    run(world, options)
    (log,) = (options.out / 'means.files').glob('*.jsonl')
    text = log.read_text()
    log.write_text(text[:-30])
    assert run(world, options).written == 1


def test_an_interrupted_run_goes_on(world, tmp_path):
    options = options_in(tmp_path, batch=2)
    stages = mean_stages(options)
    calls = []

    def fails(pixels: np.ndarray) -> np.ndarray:
        calls.append(len(pixels))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return stages.compute(pixels)

    with pytest.raises(KeyboardInterrupt):
        extract(tasks_of(world), replace(stages, compute=fails), options)
    done = run(world, options)
    assert done.kept > 0 and done.written + done.kept == FILES
    assert not list(options.out.rglob('.*'))


def test_other_settings_are_refused(world, tmp_path):
    options = options_in(tmp_path)
    run(world, options)
    other = replace(options, settings={'scale': 2, 'more': None})
    assert_refused(lambda: run(world, other), 'scale 1, not 2', 'choose another --out', start=options.settings_file)
    (options.settings_file).write_text('[]')
    assert_refused(lambda: run(world, options), 'holds no settings')


def test_files_that_no_extraction_made_are_refused(world, tmp_path):
    options = options_in(tmp_path)
    save(options.out / 'FRONT/frame1.npy', np.zeros(3))
    assert_refused(lambda: run(world, options), 'no means.json says', start=options.out / 'FRONT/frame1.npy')
    assert not options.settings_file.exists()


def test_parts_make_everything_once(world, tmp_path):
    tasks = tasks_of(world)
    for count in (1, 4, 5, 18, 30):
        parts = [part_of(tasks, (number, count)) for number in range(count)]
        assert [task for part in parts for task in part] == tasks
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    done = [run(world, options_in(tmp_path, part=(number, 4))) for number in range(4)]
    assert sum(one.written for one in done) == FILES
    assert run(world, options_in(tmp_path)).kept == FILES


def test_images_of_one_shape_are_computed_together(world, tmp_path):
    metainfo, infos = load_infos(world)
    for info in infos:
        record = info['images']['BACK']
        save(world.parent / record['img_path'], np.zeros((9, 20, 3), np.uint8))
        record['height'] = 9
    save_infos(world, 'boxworld', metainfo['cameras'], infos)
    shapes = []
    options = options_in(tmp_path, batch=3)
    stages = mean_stages(options)
    compute = lambda pixels: shapes.append(pixels.shape[:2]) or stages.compute(pixels)  # noqa: E731
    assert extract(tasks_of(world), replace(stages, compute=compute), options).written == FILES
    assert sorted(shapes) == [(3, 9)] + [(3, 12)] * 5


def test_each_image_is_taken_once_and_only_of_the_cameras_asked_for(world):
    tasks = list_tasks([world, world], names, cameras=['BACK', 'LEFT'])
    assert [task.camera for task in tasks] == ['BACK', 'LEFT'] * 3
    assert_refused(lambda: list_tasks([world], names, cameras=['TOP']), 'no camera TOP', *CAMERAS)


def test_two_images_never_share_a_file(world, tmp_path):
    other = BoxWorld(size=(12, 20), lidar_frames=()).write(tmp_path / 'other')
    assert_refused(lambda: list_tasks([world, other], names), 'LEFT/frame0.npy', 'folders of their own', start=other)


def test_missing_images_are_told(world, tmp_path, capsys):
    (world.parent / 'samples/FRONT/frame1.png').unlink()
    assert_refused(lambda: tasks_of(world), 'no such file', '--root', 'of 18 images 1 are missing')
    assert len(list_tasks([world], names, skip_missing=True)) == FILES - 1
    assert '1 of 18 are missing and left out' in capsys.readouterr().err
    assert_refused(lambda: list_tasks([world], names, root=tmp_path, skip_missing=True), '18 are missing')


def test_records_without_names_are_refused(world):
    def nameless(image, view):
        return {'mean': image['nothing']}

    assert_refused(lambda: list_tasks([world], nameless), 'sample box0, LEFT', 'convert the data again', start=world)


def test_images_of_another_size_are_refused(world, tmp_path):
    save(world.parent / 'samples/FRONT/frame1.png', np.zeros((12, 22, 3), np.uint8))
    assert_refused(lambda: run(world, options_in(tmp_path)), 'is 22x12', 'says 20x12')


@pytest.mark.parametrize('stage', ['load', 'compute', 'write'])
def test_an_error_of_any_stage_ends_the_run(world, tmp_path, stage):
    def fails(*arguments):
        raise ZeroDivisionError(stage)

    options = options_in(tmp_path)
    stages = replace(mean_stages(options), **{stage: fails})
    with pytest.raises(ZeroDivisionError, match=stage):
        extract(tasks_of(world), stages, options)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(('read', 'write'))]


def test_only_a_few_batches_are_in_memory(world):
    """However slow the slowest stage is."""
    alive, most, lock = 0, 0, threading.Lock()

    def count(change: int) -> None:
        nonlocal alive, most
        with lock:
            alive += change
            most = max(most, alive)

    def load(task: ImageTask) -> Loaded:
        count(1)
        return Loaded(np.zeros((2, 2, 3)))

    def write(task: ImageTask, more: object, result: np.ndarray) -> None:
        time.sleep(0.002)
        count(-1)

    tasks = tasks_of(world) * 5
    assert len(list(run_stages(tasks, Stages(load, lambda pixels: pixels, write), 2, 2))) == 90
    assert most <= 2 * 2 * 2 + 3 * 2 + 2


def test_reading_computing_and_writing_overlap(world):
    """Each takes as long as the others: together hardly longer than one, and not three times as long."""
    pause = 0.02

    def sleeps(count: int = 1):
        time.sleep(pause * count)

    stages = Stages(
        lambda task: sleeps() or Loaded(np.zeros((2, 2, 3))),
        lambda pixels: sleeps(len(pixels)) or pixels,
        lambda task, more, result: sleeps(),
    )
    tasks = tasks_of(world) * 2
    start = time.perf_counter()
    list(run_stages(tasks, stages, 4, 2))
    assert time.perf_counter() - start < 2 * pause * len(tasks)


def test_lines_say_what_was_made_from_what(world, tmp_path):
    options = options_in(tmp_path)
    run(world, options)
    assert json.loads(options.settings_file.read_text()) == {'scale': 1}
    (log,) = (options.out / 'means.files').glob('*.jsonl')
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(entries) == FILES
    image = world.parent / 'samples/LEFT/frame0.png'
    status = image.stat()
    size = (options.out / 'LEFT/frame0.npy').stat().st_size
    assert {'file': 'LEFT/frame0.npy', 'size': size, 'image': [status.st_size, status.st_mtime_ns]} in entries


@pytest.mark.parametrize(('cores', 'workers'), [(1, 1), (2, 1), (3, 2), (16, 4)])
def test_a_core_is_left_to_the_model(monkeypatch, tmp_path, cores, workers):
    monkeypatch.setattr('os.sched_getaffinity', lambda _: set(range(cores)))
    assert usual_workers() == ExtractionOptions(tmp_path, 'features', {}).workers == workers
