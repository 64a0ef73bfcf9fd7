"""What pytest is told for this repository: on which device kernels are tested, and which tests share a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from projects.DistillNeRF.geometry.trajectories import shifts
from tests.helpers.devices import OnDevice
from tests.helpers.scheduling import shares_fixtures

META = torch.device('meta')


def test_a_device_that_is_not_there_is_a_usage_error_in_one_line(repo_root: Path) -> None:
    command = [sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', '--device', 'cuda:99', 'tests/geometry']
    result = subprocess.run(command, cwd=repo_root, capture_output=True, text=True)
    assert result.returncode == 4
    [line] = result.stderr.strip().splitlines()
    assert line.startswith('ERROR: --device cuda:99: cannot be used here (') and 'leave the option away' in line


def test_tensors_and_weights_are_made_on_the_device() -> None:
    with OnDevice(META):
        made = [torch.zeros(2), torch.tensor([1.0]), torch.rand(2), torch.nn.Linear(2, 3).weight]
        leaf = torch.randn(2, generator=torch.Generator().manual_seed(0), requires_grad=True)
        assert torch.zeros(2, device='cpu').device.type == 'cpu'
    assert {tensor.device for tensor in (*made, leaf)} == {META}
    assert leaf.is_leaf and leaf.requires_grad


def test_random_numbers_are_drawn_on_the_cpu_and_so_are_the_same_on_every_device() -> None:
    generator, twin = (torch.Generator().manual_seed(0) for _ in range(2))
    torch.rand(3, generator=twin)
    with OnDevice(META):
        torch.rand(3, generator=generator)
    assert torch.equal(generator.get_state(), twin.get_state())


def test_functions_of_the_product_must_name_the_device_themselves() -> None:
    """``shifts`` names none."""
    offsets = torch.zeros(2, 3)
    with OnDevice(META):
        assert shifts(offsets).device.type == 'cpu'


def test_files_with_fixtures_for_all_their_tests_stay_in_one_process() -> None:
    assert shares_fixtures('tests/models/test_scene.py')
    assert not shares_fixtures('tests/geometry/test_cameras.py')
