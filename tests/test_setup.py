"""setup.sh with a fake Python that only writes down what it is asked to do; and the lock against what is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

FAKE_PYTHON = r"""#!/bin/bash
# venv copies this program into the environment; pip and everything else are lines in a file. An editable installation
# leaves the file that setuptools would.
case "$*" in
  *sys.version_info*) echo "$FAKE_VERSION" ;;
  '-c import ensurepip, venv') exit "${FAKE_NO_VENV:-0}" ;;
  '-m venv '*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *'-m pip '*)
    call=$*
    echo "${call#*disable-pip-version-check }" >>"$FAKE_LOG"
    [[ $* != *--report* ]] || echo "$FAKE_REPORT"
    site=${0%/bin/*}/lib/python3.11/site-packages
    [[ $* != *--editable* ]] || { mkdir -p "$site" && pwd >"$site/__editable__.distillnerf-0.1.0.pth"; }
    [[ -z ${FAKE_FAILS_ON:-} || $* != *"$FAKE_FAILS_ON"* ]] || exit 3
    ;;
esac
"""

EDITABLE = 'install --quiet --no-deps --no-build-isolation --editable .'

Run = Callable[..., subprocess.CompletedProcess[str]]


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path, repo_root: Path) -> Path:
    """The files that setup.sh works with, and a folder `bin` whose programs come first."""
    root = tmp_path / 'checkout'
    shutil.copytree(repo_root / 'requirements', root / 'requirements')
    for name in ('setup.sh', 'requirements.txt'):
        shutil.copy(repo_root / name, root / name)
    (root / 'pyproject.toml').write_text('[project]\nversion = "0.1.0"\n')
    (root / 'projects' / 'DistillNeRF').mkdir(parents=True)
    (root / 'bin').mkdir()
    write_program(root / 'bin' / 'python3.11', FAKE_PYTHON)
    write_program(root / 'bin' / 'nvidia-smi', '#!/bin/sh\nexit 9\n')
    return root


@pytest.fixture
def setup(checkout: Path) -> Run:
    """Runs setup.sh of the checkout ``root``; other keywords are environment variables."""

    def run(*options: str, root: Path = checkout, **variables: str) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if key not in ('VENV', 'TORCH_INDEX_URL')}
        environment = {
            **clean,
            'PATH': f'{root / "bin"}:{os.environ["PATH"]}',
            'FAKE_VERSION': '3.11',
            'FAKE_LOG': str(checkout / 'pip.log'),
            'FAKE_REPORT': '{"name": "torch"}',
            **variables,
        }
        command = ['bash', str(root / 'setup.sh'), *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    return run


def pip_calls(checkout: Path) -> list[str]:
    log = checkout / 'pip.log'
    return log.read_text().splitlines() if log.exists() else []


def test_scripts_parse_and_explain_themselves(repo_root: Path, setup: Run) -> None:
    for script in ('setup.sh', 'tests/run.sh', '.ci/run'):
        subprocess.run(['bash', '-n', repo_root / script], check=True)
        assert os.access(repo_root / script, os.X_OK)
    text = setup('--help')
    assert text.returncode == 0
    for option in ('--with-ops', '--torch-index', '--no-lock', '--python', '--venv'):
        assert option in text.stdout


def test_installs_the_lock_and_the_project_and_then_rests(checkout: Path, setup: Run) -> None:
    first = setup()
    assert first.returncode == 0, first.stderr
    installs = [call for call in pip_calls(checkout) if call.startswith('install') and '-r' in call.split()]
    lock = '--constraint requirements/lock.txt'
    assert [call for call in installs if '--dry-run' not in call] == [
        f'install --quiet {lock} -r requirements.txt',
        f'install --quiet {lock} --no-deps -r requirements/nodeps.txt',
    ]
    assert pip_calls(checkout)[-1] == EDITABLE
    done = len(pip_calls(checkout))
    again = setup()
    assert again.returncode == 0
    assert again.stdout == '[setup] .venv is complete\n'
    assert len(pip_calls(checkout)) == done


def test_a_changed_requirement_is_installed_without_starting_over(checkout: Path, setup: Run) -> None:
    setup()
    kept = checkout / '.venv' / 'kept'
    kept.touch()
    (checkout / 'pip.log').unlink()
    with (checkout / 'requirements' / 'lock.txt').open('a') as lock:
        lock.write('one-more==1.0\n')
    assert setup().returncode == 0
    assert any('-r requirements.txt' in call for call in pip_calls(checkout))
    assert kept.exists()


@pytest.mark.parametrize('stage', ['-r requirements.txt', '--no-deps -r', '--editable'])
def test_a_failed_setup_says_where_and_is_rebuilt(checkout: Path, setup: Run, stage: str) -> None:
    failed = setup(FAKE_FAILS_ON=stage)
    assert failed.returncode == 1
    assert re.search(r'error: stopped while installing .* Run the same command again', failed.stderr)
    half_made = checkout / '.venv' / 'half-made'
    half_made.touch()
    assert setup().returncode == 0
    assert not half_made.exists()
    assert setup().stdout == '[setup] .venv is complete\n'


def installed_checkout(environment: Path) -> Path:
    """The checkout that Python would import."""
    (line,) = environment.glob('lib/python3.11/site-packages/__editable__.distillnerf-*.pth')
    return Path(line.read_text().strip())


@pytest.mark.parametrize('inside', [True, False], ids=['in its checkout', 'elsewhere'])
def test_the_environment_of_another_checkout_keeps_its_code(
    checkout: Path, setup: Run, tmp_path: Path, inside: bool
) -> None:
    environment = checkout / '.venv' if inside else tmp_path / 'venv'
    setup(VENV=str(environment))
    other = tmp_path / 'other'
    shutil.copytree(checkout, other, ignore=shutil.ignore_patterns('.venv'))
    # Nothing is missing; then a requirement is. The installation stays, and is said to be another's.
    for change in ('', 'one-more==1.0\n'):
        with (other / 'requirements' / 'lock.txt').open('a') as lock:
            lock.write(change)
        result = setup(VENV=str(environment), root=other)
        assert result.returncode == 0
        assert f'belongs to the checkout {checkout}' in result.stderr.replace('/.venv/..', '')
        assert f'export PYTHONPATH={other}\n' in result.stderr
        assert installed_checkout(environment) == checkout
    assert pip_calls(checkout).count(EDITABLE) == 1


def test_an_environment_in_a_checkout_is_that_of_the_checkout(checkout: Path, setup: Run, tmp_path: Path) -> None:
    setup()
    (line,) = (checkout / '.venv').glob('lib/*/*/*.pth')
    line.write_text(f'{tmp_path}\n')
    assert setup().returncode == 0
    assert installed_checkout(checkout / '.venv') == checkout


def test_the_environment_of_a_moved_checkout_follows(checkout: Path, setup: Run, tmp_path: Path) -> None:
    environment = str(tmp_path / 'venv')
    setup(VENV=environment)
    moved = checkout.rename(tmp_path / 'moved')
    result = setup(VENV=environment, root=moved)
    assert result.returncode == 0 and 'belongs to' not in result.stderr
    assert installed_checkout(tmp_path / 'venv') == moved


def test_setuptools_leaves_the_file_that_the_script_reads(repo_root: Path, tmp_path: Path) -> None:
    root, site = tmp_path / 'checkout', tmp_path / 'site'
    shutil.copytree(repo_root / 'requirements', root / 'requirements')
    for name in ('pyproject.toml', 'README.md', 'LICENSE.txt'):
        shutil.copy(repo_root / name, root / name)
    for name in ('projects/DistillNeRF', 'verification'):
        (root / name).mkdir(parents=True)
        (root / name / '__init__.py').touch()
    command = [sys.executable, '-m', 'pip', *EDITABLE.split()[:-1], root, '--no-index', '--target', site]
    subprocess.run(command, check=True, capture_output=True)
    (line,) = site.glob('__editable__.distillnerf-*.pth')
    assert line.read_text().strip() == str(root)
    (found,) = distributions(path=[str(site)], name='distillnerf')
    extras = [Requirement(text) for text in found.requires if 'extra ==' in text]
    for name, extra in (('core', None), ('train', 'train'), ('foundation', 'foundation'), ('dev', 'dev')):
        wanted = {requirement.name for requirement in read_requirements(repo_root / 'requirements' / f'{name}.txt')}
        if extra is None:
            assert {Requirement(text).name for text in found.requires if 'extra ==' not in text} == wanted
        else:
            assert {r.name for r in extras if r.marker.evaluate({'extra': extra})} == wanted


def test_a_new_version_is_installed(checkout: Path, setup: Run) -> None:
    setup()
    (checkout / 'pyproject.toml').write_text('[project]\nversion = "0.2.0"\n')
    setup()
    assert pip_calls(checkout).count(EDITABLE) == 2


def test_options_reach_pip_and_are_remembered(checkout: Path, setup: Run) -> None:
    index = 'file:///some/index'
    assert setup('--torch-index', index, '--no-lock').returncode == 0
    installs = [call for call in pip_calls(checkout) if '-r requirements.txt' in call]
    assert installs == [f'install --quiet --extra-index-url {index} -r requirements.txt']
    assert setup().stdout == '[setup] .venv is complete\n'


def test_torch_index_comes_from_the_environment_too(checkout: Path, setup: Run) -> None:
    assert setup(TORCH_INDEX_URL='file:///other').returncode == 0
    assert any('--extra-index-url file:///other' in call for call in pip_calls(checkout))


def test_python_310_takes_the_ranges_and_says_so(checkout: Path, setup: Run) -> None:
    result = setup(FAKE_VERSION='3.10')
    assert result.returncode == 0
    assert 'the locked versions need Python 3.11 or 3.12' in result.stderr
    assert not any('lock.txt' in call for call in pip_calls(checkout))


def test_a_cuda_build_without_a_gpu_is_announced(setup: Run) -> None:
    result = setup(FAKE_REPORT='{"name": "nvidia-cublas"}')
    assert 'build with CUDA' in result.stdout
    assert '--torch-index URL' in result.stderr


def test_a_gpu_with_a_cpu_build_is_announced(checkout: Path, setup: Run) -> None:
    write_program(checkout / 'bin' / 'nvidia-smi', '#!/bin/sh\necho "GPU 0: fake"\n')
    assert 'pip would take a CPU build' in setup().stderr


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--fast'], 'unknown option --fast'),
        (['--python'], '--python needs a value'),
        (['--python', 'no/such/python'], 'no/such/python: no such program'),
        (['--venv', 'bin'], 'bin exists and is not a virtual environment'),
    ],
)
def test_wrong_options_end_before_anything_is_made(
    checkout: Path, setup: Run, options: list[str], message: str
) -> None:
    result = setup(*options)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert pip_calls(checkout) == []
    assert not (checkout / '.venv').exists()


def test_an_old_python_is_refused(checkout: Path, setup: Run) -> None:
    result = setup('--python', 'python3.11', FAKE_VERSION='3.8')
    assert result.returncode == 2
    assert 'Python 3.10, 3.11 or 3.12 is needed, found: python3.11=3.8' in result.stderr


def test_a_python_without_venv_is_refused(setup: Run) -> None:
    result = setup(FAKE_NO_VENV='1')
    assert result.returncode == 2
    assert 'python3.11-venv' in result.stderr


def test_a_full_disk_is_noticed_before(checkout: Path, setup: Run) -> None:
    write_program(checkout / 'bin' / 'df', '#!/bin/sh\nprintf "Filesystem\\nfake 9 9 1048576 9%% /\\n"\n')
    result = setup()
    assert result.returncode == 2
    assert 'needs about 4 GB' in result.stderr and '1 GB free' in result.stderr
    assert not (checkout / '.venv').exists()


def read_requirements(path: Path) -> list[Requirement]:
    lines = [line.partition('#')[0].strip() for line in path.read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith('-r')]


def read_lock(repo_root: Path) -> dict[str, Version]:
    pins = read_requirements(repo_root / 'requirements' / 'lock.txt')
    return {canonicalize_name(pin.name): Version(str(pin.specifier).removeprefix('==')) for pin in pins}


def test_the_lock_pins_every_requirement_inside_its_range(repo_root: Path) -> None:
    lock = read_lock(repo_root)
    for name in ('core', 'train', 'foundation', 'nodeps', 'dev'):
        for requirement in read_requirements(repo_root / 'requirements' / f'{name}.txt'):
            assert lock[canonicalize_name(requirement.name)] in requirement.specifier, requirement
    assert not {'torchvision', 'opencv-python', 'open3d'} & set(lock)


def test_the_citation_has_the_version_of_the_project(repo_root: Path) -> None:
    stated = [
        re.search(pattern, (repo_root / name).read_text(), re.MULTILINE)[1]
        for name, pattern in (('pyproject.toml', r'^version = "(.*)"$'), ('CITATION.cff', r'^version: (.*)$'))
    ]
    assert stated[0] == stated[1]


def test_pre_commit_has_the_ruff_of_the_lock(repo_root: Path) -> None:
    text = (repo_root / '.pre-commit-config.yaml').read_text()
    assert f'rev: v{read_lock(repo_root)["ruff"]} #' in text


@pytest.mark.skipif(sys.version_info < (3, 11), reason='the lock is for Python 3.11 and 3.12')
def test_what_is_installed_is_the_lock(repo_root: Path) -> None:
    done = Path(sys.prefix) / '.setup-done'
    if not done.is_file() or 'lock yes' not in done.read_text():
        pytest.skip(f'{sys.prefix} was not made by setup.sh from the lock')
    lock = read_lock(repo_root)
    # Only the environment's own folder: importing setuptools adds another with its private copies to sys.path.
    folder = [sysconfig.get_path('purelib')]
    installed = {canonicalize_name(found.name): Version(found.version) for found in distributions(path=folder)}
    if 'ops yes' in done.read_text():
        installed['mmcv-lite'] = installed.pop('mmcv')
    different = {
        name: (str(version), installed.get(name))
        for name, version in lock.items()
        if name not in installed or installed[name].public != version.public
    }
    assert different == {}
