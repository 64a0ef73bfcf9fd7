"""Train the same student on different teachers of MiniTown and compare what it learns.

    python tools/create_data.py minitown --root-path data/minitown
    python tools/train_teachers.py projects/DistillNeRF/configs/model_wrapper/scene_nerf_minitown.py --out FIELD
    python tools/train_teachers.py projects/DistillNeRF/configs/model_wrapper/scene_nerf_minitown.py --out LIDAR \
        --method lidar
    python -m verification.students --lidar LIDAR --field FIELD --steps 600 --seeds 0 1 2 --out work_dirs/students

Every student has the same network, steps and training scenes, and is evaluated on the scenes for validation, which no
teacher was trained on. The true teacher is what MiniTown writes beside itself. The LiDAR teacher has no colors, so that
there are no virtual views of it. What is finished is not made again; the table is that of what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CONFIG = 'projects/DistillNeRF/configs/model_wrapper/model_wrapper_minitown.py'
# Steps in which the learning rate grows, as in the schedule of the config.
WARM_UP = 50
# What the table shows: where it stands in the results of tools/test.py or of tools/novel_view_synthesis.py.
COLUMNS = {
    'reconstruction, dB': ('test', 'psnr'),
    'next frame, dB': ('test', 'next/psnr'),
    'novel views, dB': ('novel', 'psnr'),
    'AbsRel': ('test', 'abs_rel'),
    'AbsRel of novel views': ('novel', 'abs_rel'),
}


@dataclass(frozen=True)
class Student:
    """One training.

    Attributes:
        teacher: its name; None: LiDAR and images alone.
        folder: the files of the teacher; None: those that the config names.
        virtual: whether virtual views of the teacher are targets.
        seed: of the training.
    """

    teacher: str | None
    folder: Path | None
    virtual: bool
    seed: int

    @property
    def kind(self) -> str:
        """Return what students of other seeds share."""
        return (self.teacher or 'none') + ('_virtual' if self.virtual else '')

    def options(self) -> list[str]:
        """Return what is changed in the training data, and which loss has nothing to compare with."""
        dataset = 'train_dataloader.dataset'
        if self.teacher is None:
            return [f'{dataset}.load_teacher=False', 'model.losses.teacher_depth=None']
        where = [] if self.folder is None else [f'{dataset}.data_prefix.teacher={self.folder.resolve()}']
        return where + [f'{dataset}.virtual_img_target_smart_sample=True'] * self.virtual


def students(folders: Mapping[str, Path | None], seeds: Sequence[int]) -> list[Student]:
    """List all students, those of a seed together."""
    kinds: list[tuple[str | None, Path | None, bool]] = [(None, None, False)]
    for teacher, folder in folders.items():
        kinds += [(teacher, folder, virtual) for virtual in ((False,) if teacher == 'lidar' else (False, True))]
    return [Student(*kind, seed) for seed in seeds for kind in kinds]


def train_and_evaluate(student: Student, args: argparse.Namespace) -> None:
    """Train, test and look at a student; skip what is finished."""
    if figures(folder_of(student, args)) is None:
        evaluate(student, train(student, args), args)


def train(student: Student, args: argparse.Namespace) -> Path:
    """Train a student unless it is trained; returns its checkpoint."""
    folder, steps = folder_of(student, args), args.steps
    last = folder / 'last_checkpoint'
    if not (last.exists() and Path(last.read_text().strip()).name == f'iter_{steps}.pth'):
        options = [
            *(f'{loader}_dataloader.dataset.data_root={args.data_root}' for loader in ('train', 'val')),
            *(f'train_cfg.max_iters={steps}', f'train_cfg.val_interval={steps}'),
            *(f'param_scheduler.1.end={steps}', f'param_scheduler.1.T_max={steps - WARM_UP}'),
            *student.options(),
        ]
        words = ['tools/train.py', CONFIG, '--work-dir', folder, '--seed', student.seed, '--resume']
        run([*words, '--cfg-options', *options], folder, args)
    return folder / f'iter_{steps}.pth'


def evaluate(student: Student, checkpoint: Path, args: argparse.Namespace) -> None:
    """Test a student, and compare its novel views with the truth; skip what is finished."""
    folder = folder_of(student, args)
    tools = {
        'test': ['tools/test.py', '--work-dir', folder / 'test'],
        'novel': ['tools/novel_view_synthesis.py', '--truth', '--samples', args.samples],
    }
    for name, (tool, *options) in tools.items():
        out = folder / f'{name}.json'
        if not out.exists():
            words = [tool, CONFIG, checkpoint, *options, '--out', out, '--cfg-options']
            run([*words, f'test_dataloader.dataset.data_root={args.data_root}'], folder, args)


def folder_of(student: Student, args: argparse.Namespace) -> Path:
    """Return where all of a student lies."""
    return args.out / f'{student.kind}_{student.seed}'


def run(command: Sequence[object], folder: Path, args: argparse.Namespace) -> None:
    """Run a tool; its output goes to a file of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    threads = str(max(1, (os.cpu_count() or 1) // args.workers))
    words = [sys.executable, *map(str, command)]
    with (folder / 'log.txt').open('a') as log:
        done = subprocess.run(
            words, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, 'OMP_NUM_THREADS': threads}
        )
    if done.returncode:
        raise SystemExit(f'{folder / "log.txt"}: {command[0]} ended with {done.returncode}')


def figures(folder: Path) -> list[float] | None:
    """Read the figures of a student, column by column; None if it is not finished."""
    if not all((folder / f'{name}.json').exists() for name in ('test', 'novel')):
        return None
    results = {name: json.loads((folder / f'{name}.json').read_text()) for name in ('test', 'novel')}
    values = {'test': results['test']['model'], 'novel': results['novel']['mean']}
    return [values[where][key] for where, key in COLUMNS.values()]


def table(every: Sequence[Student], out: Path) -> str:
    """Return the means and standard deviations over the seeds as Markdown."""
    lines = [f'| teacher | virtual views | seeds | {" | ".join(COLUMNS)} |', '| --- ' * (3 + len(COLUMNS)) + '|']
    for kind in dict.fromkeys(student.kind for student in every):
        found = [student for student in every if student.kind == kind]
        rows = [row for student in found if (row := figures(out / f'{kind}_{student.seed}'))]
        if rows:
            mean, spread = np.mean(rows, 0), np.std(rows, 0, ddof=1) if len(rows) > 1 else None
            cells = [
                (f'{value:.3f}' if 'AbsRel' in name else f'{value:.2f}')
                + ('' if spread is None else f' ± {spread[index]:.{3 if "AbsRel" in name else 2}f}')
                for index, (name, value) in enumerate(zip(COLUMNS, mean, strict=True))
            ]
            virtual = 'yes' if found[0].virtual else 'no'
            lines.append(f'| {found[0].teacher or "none"} | {virtual} | {len(rows)} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-root', default='data/minitown', help='a MiniTown')
    parser.add_argument('--lidar', type=Path, help='files of the LiDAR teacher')
    parser.add_argument('--field', type=Path, help='files of the scene NeRF')
    parser.add_argument('--steps', type=int, default=1500, help='of every student')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--samples', type=int, default=4, help='of which novel views are compared with the truth')
    parser.add_argument('--workers', type=int, default=1, help='students at once')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/students'))
    args = parser.parse_args()

    folders: dict[str, Path | None] = {
        name: folder for name in ('lidar', 'field') if (folder := getattr(args, name)) is not None
    }
    every = students({**folders, 'truth': None}, args.seeds)
    with ThreadPoolExecutor(args.workers) as pool:
        list(pool.map(lambda student: train_and_evaluate(student, args), every))
    print(table(every, args.out))


if __name__ == '__main__':
    main()
