"""What a test found, as JSON, CSV and Markdown, and beside the figures of the paper."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from projects.DistillNeRF.engine.evaluate import Evaluation
from projects.DistillNeRF.engine.result_files import (
    Results,
    check_results_path,
    markdown_table,
    tables_of_parts,
    write_results,
)
from projects.DistillNeRF.evaluation.paper import PAPER, ZERO_SHOT, paper_columns, paper_figures
from projects.DistillNeRF.utils.errors import InputError

CONFIGS = Path('projects/DistillNeRF/configs/model_wrapper')
FOUND = Evaluation(
    figures={'psnr': 20.123456, 'lidar/rmse': 4.0},
    intervals={'psnr': (19.0, 21.0), 'psnr@camera=A,B': (18.0, 19.5)},
    samples=[{'token': 't', 'scene': 's', 'psnr': 20.123456}],
    parts={'psnr@camera=A,B': 19.0, 'psnr@camera=C|D': 22.0, 'lidar/rmse@distance=0-10m': 1.0},
)
RESULTS = Results(
    {'config': 'x/c.py', 'checkpoint': None},
    FOUND,
    {'mean_color/psnr': 14.0, 'mean_color/next/psnr': 13.0, 'other/lidar/rmse': 9.0},
    {'paper': {'psnr': 28.0, 'ssim': 0.9}},
)


def test_json_has_everything(tmp_path):
    path = tmp_path / 'new' / 'r.json'
    write_results(path, RESULTS)
    assert json.loads(path.read_text()) == {
        'config': 'x/c.py',
        'checkpoint': None,
        'model': FOUND.figures,
        'parts': FOUND.parts,
        'intervals': {name: list(bounds) for name, bounds in FOUND.intervals.items()},
        'baselines': RESULTS.baselines,
        'paper': RESULTS.paper['paper'],
        'samples': FOUND.samples,
        'protocol': None,
    }


def test_csv_has_a_row_per_figure(tmp_path):
    path = tmp_path / 'r.csv'
    write_results(path, RESULTS)
    with path.open(newline='') as file:
        rows = list(csv.reader(file))
    assert rows == [
        ['figure', 'by', 'part', 'value', 'lower', 'upper', 'paper', 'mean_color', 'other'],
        ['psnr', '', '', '20.123456', '19.0', '21.0', '28.0', '14.0', ''],
        ['lidar/rmse', '', '', '4.0', '', '', '', '', '9.0'],
        ['psnr', 'camera', 'A,B', '19.0', '18.0', '19.5', '', '', ''],
        ['psnr', 'camera', 'C|D', '22.0', '', '', '', '', ''],
        ['lidar/rmse', 'distance', '0-10m', '1.0', '', '', '', '', ''],
    ]


def test_markdown_sets_figures_beside_the_paper(tmp_path):
    path = tmp_path / 'r.md'
    write_results(path, RESULTS)
    lines = path.read_text().splitlines()
    assert lines[0] == 'config: x/c.py  ' and lines[1] == 'checkpoint: None'
    assert lines[3:7] == [
        '| metric | model | 95 % | paper | mean_color | other |',
        '| --- | ---: | ---: | ---: | ---: | ---: |',
        '| psnr [dB] | 20.123 | 19.000 to 21.000 | 28.000 | 14.000 |  |',
        '| lidar/rmse [m] | 4.000 |  |  |  | 9.000 |',
    ]
    assert any(line.startswith('paper: ') for line in lines)
    assert '| camera | metric | model | 95 % |' in lines
    assert '| A,B | psnr [dB] | 19.000 | 18.000 to 19.500 |' in lines
    assert '| C\\|D | psnr [dB] | 22.000 |  |' in lines
    assert '| 0-10m | lidar/rmse [m] | 1.000 |  |' in lines


def test_a_config_without_figures_of_the_paper_has_no_such_column(tmp_path):
    for ending in ('csv', 'md'):
        path = tmp_path / f'r.{ending}'
        write_results(path, Results(RESULTS.about, FOUND, {}, {}))
        assert 'paper' not in path.read_text()


def test_tables_of_parts_have_a_column_per_part():
    camera, distance = tables_of_parts(FOUND.parts)
    assert [line.split() for line in camera.splitlines()[::2]] == [
        ['by', 'camera', 'A,B', 'C|D'],
        ['psnr', '[dB]', '19.000', '22.000'],
    ]
    assert distance.splitlines()[-1].split() == ['lidar/rmse', '[m]', '1.000']
    assert tables_of_parts({}) == []


def test_other_endings_and_places_are_refused_before_the_work(tmp_path):
    for name in ('r.txt', 'r', 'json'):
        with pytest.raises(InputError, match=r'--out writes \.json, \.csv, \.md'):
            check_results_path(tmp_path / name)
    check_results_path(tmp_path / 'new' / 'r.md')
    (tmp_path / 'file').write_text('x')
    with pytest.raises(InputError, match='cannot be written'):
        check_results_path(tmp_path / 'file' / 'r.csv')


def test_cells_of_markdown_stay_in_their_columns():
    assert markdown_table(['a', 'b'], [['x|y', '1']]) == ['| a | b |', '| --- | ---: |', '| x\\|y | 1 |']


def test_figures_of_the_paper_are_those_of_configs_that_exist(repo_root):
    configs = {path.stem for path in (repo_root / CONFIGS).glob('*.py')}
    assert set(PAPER) <= configs and set(ZERO_SHOT) <= configs
    assert paper_figures('a/b/model_wrapper_linearspace.py')['next/psnr'] == 20.27
    assert paper_figures('model_wrapper_minitown.py') == {}
    cam = paper_figures('model_wrapper_virtual_cam.py')
    assert (cam['next/psnr'], cam['next/ssim'], cam['lidar/a3']) == (20.78, 0.590, 0.961)
    assert cam['occupancy/miou'] == 0.0893


def test_zero_shot_has_a_column_of_its_own(tmp_path):
    assert 'psnr_recolored' not in paper_columns('a/model_wrapper_waymo.py')['paper zero-shot'], 'of another fit'
    columns = paper_columns('a/model_wrapper_waymo.py', recolored=True)
    assert columns['paper'] == {'psnr': 29.84, 'ssim': 0.911} and list(columns) == ['paper', 'paper zero-shot']
    assert list(paper_columns('model_wrapper.py')) == ['paper'] and paper_columns('model_wrapper_minitown.py') == {}
    found = Evaluation({'psnr': 20.0, 'psnr_recolored': 24.0}, {}, [])
    write_results(tmp_path / 'r.md', Results({}, found, {}, columns))
    table = (tmp_path / 'r.md').read_text()
    assert '| metric | model | 95 % | paper | paper zero-shot |' in table
    assert '| psnr [dB] | 20.000 |  | 29.840 | 21.030 |' in table
    assert '| psnr_recolored [dB] | 24.000 |  |  | 24.850 |' in table
    write_results(tmp_path / 'r.json', Results({}, found, {}, columns))
    content = json.loads((tmp_path / 'r.json').read_text())
    assert content['paper'] == columns['paper'] and content['paper_zero_shot'] == columns['paper zero-shot']
