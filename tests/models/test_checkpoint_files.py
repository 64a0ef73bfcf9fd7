"""Checkpoints are found, read and understood, and what is none is told by its name."""

from __future__ import annotations

import os
import pickle
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from projects.DistillNeRF.models.checkpoint import checkpoints_in, load_weights, read_checkpoint
from projects.DistillNeRF.models.conversion import read_published
from projects.DistillNeRF.models.scene import Scene
from projects.DistillNeRF.models.scene_files import FORMAT
from projects.DistillNeRF.models.weights import find_weights, shortened
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.refusals import assert_refused

Weights = dict[str, torch.Tensor]


class Part(torch.nn.Module):
    """Names like those of the network."""

    def __init__(self, width: int = 2, head: str = 'decoder') -> None:
        super().__init__()
        self.voxel_net = torch.nn.Linear(2, width)
        self.head = torch.nn.ModuleDict({head: torch.nn.Linear(2, 1)})


def saved(prefix: str = 'network.', seed: int = 0) -> Weights:
    torch.manual_seed(seed)
    return {prefix + name: value for name, value in Part().state_dict().items()}


def compiled(state: Weights) -> Weights:
    """As if a part in the middle had been compiled."""
    return {name.replace('voxel_net.', 'voxel_net._orig_mod.'): value for name, value in state.items()}


@pytest.mark.parametrize(
    'content',
    [
        {'state_dict': saved()},
        {'state_dict': saved('module.network.')},
        {'state_dict': saved('_orig_mod.network.')},
        {'state_dict': saved('network._orig_mod.')},
        {'state_dict': saved('_orig_mod.module.network.')},
        {'state_dict': compiled(saved('module.network.'))},
        {'state_dict': saved('model.network.')},
        {'state_dict': saved('model.')},
        {'state_dict': saved('')},
        {'state_dict': {'state_dict': saved()}},
        {'model_state': saved(''), 'epoch': 3},
        {'model': {'state_dict': saved('module.')}},
        {'optimizer': {'state': {0: {'exp_avg': torch.zeros(2)}}}, 'weights': saved('')},
        {'pending_gradients': saved(seed=1), 'state_dict': saved()},
        {'ema_state_dict': {'steps': torch.tensor(4), **saved('module.network.')}},
        {'ema_state_dict': saved(seed=1), 'state_dict': saved()},
        {'state_dict': {**saved(), **saved('ema.network.', seed=1)}},
        {'state_dict': {**saved('student.network.'), **saved('ema_model.network.', seed=1)}},
        saved(''),
        saved('module.'),
    ],
)
def test_weights_are_found_however_they_were_wrapped(tmp_path, content):
    path = tmp_path / 'checkpoint.pth'
    torch.save(content, path)
    network = Part()
    load_weights(network, path)
    for name, value in saved('').items():
        assert torch.equal(network.state_dict()[name], value), name


def test_what_is_beside_the_network_keeps_its_name(tmp_path):
    detection = {'module.det_head_3d.weight': torch.ones(1)}
    torch.save({'state_dict': {**saved('module.network.'), **detection}, 'meta': {'iter': 3}}, tmp_path / 'a.pth')
    state = read_checkpoint(tmp_path / 'a.pth')
    assert set(state['state_dict']) == {*saved(), 'det_head_3d.weight'}
    assert state['meta'] == {'iter': 3}


def test_names_that_would_fall_together_are_left_as_they_are():
    both = {'module.a': torch.zeros(1), 'a': torch.ones(1)}
    assert find_weights({'state_dict': both}) == both


def refused(path: Path, *words: str, reader: object = read_checkpoint) -> None:
    assert_refused(lambda: reader(path), *words, start=f'{path}: ')


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n', ('git-lfs', 'git lfs pull')),
        (b'<!DOCTYPE html><html>sign in</html>', ('web page', 'download it again')),
        (b'\n<html lang="en">', ('web page',)),
        (b'@\0\0\0\0\0\0\0{"a.weight":{"dtype":"F32"}}', ('safetensors', 'torch.save(safetensors.torch.load_file')),
        (b'\x1f\x8b\x08\0', ('gzip', 'unpack')),
        (b'PK\x03\x04' + bytes(90), ('cut short, after 94 bytes', 'give')),
        (b'PK\x05\x06' + bytes(18), ('zip archive of other files', 'unpack')),
        (b'some text\n' * 9, ('not a readable', 'give')),
        (b'', ('is empty',)),
    ],
)
@pytest.mark.parametrize('reader', [read_checkpoint, read_published, Scene.load])
def test_files_of_other_kinds_are_named(tmp_path, content, words, reader):
    path = tmp_path / 'file.pth'
    path.write_bytes(content)
    refused(path, *words, reader=reader)


def test_the_pointer_to_the_newest_checkpoint_is_none(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('work/iter_3.pth\n')
    refused(tmp_path / 'last_checkpoint', 'only names a checkpoint, work/iter_3.pth', 'give that one')


def test_a_folder_has_checkpoints_in_it(tmp_path):
    refused(tmp_path, 'is a folder; give a checkpoint')
    for number in (8, 10, 9):
        (tmp_path / f'iter_{number}.pth').touch()
    refused(tmp_path, f'is a folder; give a checkpoint in it, such as {tmp_path / "iter_10.pth"}')


def test_python_objects_are_named_and_not_built(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': saved(), 'args': Namespace(a=1)}, path)
    refused(path, 'not a readable checkpoint', 'Python objects', 'argparse.Namespace', 'torch.save(model.state_dict()')
    path.write_bytes(pickle.dumps({'state_dict': os.system}))
    refused(path, 'not a readable checkpoint')


def test_files_of_the_other_commands(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': {'model.coarse_monodepth_estimator.conv1.weight': torch.zeros(1)}}, path)
    refused(path, 'published', f'tools/convert_checkpoint.py {path} ours.pth')
    torch.save({'format': FORMAT, 'head_weights': saved('')}, path)
    refused(path, 'saved scene', 'tools/viewer.py --scene')
    torch.save({'state_dict': saved('module.network.')}, path)
    refused(path, 'ours already', 'as it is', reader=read_published)
    refused(path, 'not a scene, but a checkpoint', 'tools/infer.py', reader=Scene.load)
    torch.save({'state_dict': {'backbone.conv1.weight': torch.zeros(1)}}, path)
    refused(path, 'another network', 'backbone.conv1.weight', reader=lambda path: load_weights(Part(), path))


def test_long_lists_are_shortened_and_have_a_reason(tmp_path):
    path = tmp_path / 'a.pth'
    many = {f'network.voxel_net.extra{i}': torch.zeros(1) for i in range(1000)}
    torch.save({'state_dict': {**saved(), **many}, 'meta': {'experiment_name': 'run_7'}}, path)
    with pytest.raises(InputError) as error:
        load_weights(Part(width=3), path)
    text = str(error.value)
    assert len(text) - len(str(path)) < 500
    for words in (
        'voxel_net.extra4 is unknown and 995 more unknown',
        'voxel_net.weight is (2, 2), not (3, 2)',
        'run_7',
    ):
        assert words in text
    with pytest.raises(InputError, match=r'the checkpoint is of a network of colors, the config of one of features'):
        load_weights(Part(head='net'), path)
    assert shortened(['a', 'b', 'c'], 'names', 2) == 'a, b and 1 more names'


def with_iteration(path: Path, number: int) -> None:
    torch.save({'meta': {'iter': number}}, path)


def test_iterations_decide_and_not_the_clock_or_the_alphabet(tmp_path):
    for number, time in ((2, 900), (10, 100), (9, 500)):
        with_iteration(tmp_path / f'iter_{number}.pth', number)
        os.utime(tmp_path / f'iter_{number}.pth', (time, time))
    for name in ('best_psnr_iter_99.pth', 'before_nan_iter_99.pth', '.iter_99.pth.part', 'last_checkpoint'):
        (tmp_path / name).touch()
    assert [path.name for path in checkpoints_in(tmp_path)] == ['iter_10.pth', 'iter_9.pth', 'iter_2.pth']
    # Epochs of eight iterations: what the files say decides.
    with_iteration(tmp_path / 'epoch_1.pth', 8)
    with_iteration(tmp_path / 'epoch_2.pth', 16)
    (tmp_path / 'epoch_3.pth').write_bytes(b'damaged')
    names = [path.name for path in checkpoints_in(tmp_path)]
    assert names == ['epoch_2.pth', 'iter_10.pth', 'iter_9.pth', 'epoch_1.pth', 'iter_2.pth', 'epoch_3.pth']
