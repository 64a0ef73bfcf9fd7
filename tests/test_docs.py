"""What docs, docstrings and comments refer to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

# ``docs/NETWORK.md#pooling`` in code, ``[...](NETWORK.md#pooling)`` and ``(#pooling)`` in docs.
CITED = re.compile(r'(?:docs/)?([A-Z_]+\.md)#([a-z0-9-]+)')
WITHIN = re.compile(r'\]\(#([a-z0-9-]+)\)')
# Numbers of sections of a text that is not here.
OUTSIDE = re.compile(r'parity[ ]notes|quirk[ ][0-9]|\(sections? [0-9]')
# Of published code and of papers: those are cited by their own names.
SUFFIXES = {'.py', '.md', '.sh'}


def anchors(path: Path) -> set[str]:
    """Anchors of the headings, as pages of repositories make them."""
    headings = re.findall(r'^#+ (.*)$', path.read_text(), re.MULTILINE)
    return {re.sub(r'[^\w -]', '', heading.strip().lower()).replace(' ', '-') for heading in headings}


@pytest.fixture(scope='module')
def texts(repo_root) -> dict[Path, str]:
    """All files of ours that may refer to something."""
    folders = ('projects', 'tests', 'tools', 'docs', 'configs', 'sample_scripts')
    paths = [path for folder in folders for path in (repo_root / folder).rglob('*') if path.suffix in SUFFIXES]
    return {path: path.read_text() for path in [*paths, *repo_root.glob('*.md')] if path != Path(__file__)}


def test_every_heading_that_is_cited_is_there(texts, repo_root):
    known = {path.name: anchors(path) for path in (repo_root / 'docs').glob('*.md')}
    missing = [
        f'{path.relative_to(repo_root)}: {name}#{anchor}'
        for path, text in texts.items()
        for name, anchor in [*CITED.findall(text), *((path.name, anchor) for anchor in WITHIN.findall(text))]
        if anchor not in known.get(name, set())
    ]
    assert not missing


def test_nothing_outside_of_the_repository_is_cited(texts, repo_root):
    found = [f'{path.relative_to(repo_root)}: {text}' for path, t in texts.items() for text in OUTSIDE.findall(t)]
    assert not found


def test_lines_of_documents_are_shorter_than_120(repo_root):
    pages = [*repo_root.glob('*.md'), *(repo_root / 'docs').rglob('*.md'), *(repo_root / 'tests').rglob('*.md')]
    assert len(pages) > 9
    long = [
        f'{page.relative_to(repo_root)}:{number}'
        for page in pages
        for number, line in enumerate(page.read_text().splitlines(), 1)
        if len(line) >= 120
    ]
    assert not long


def test_oddities_are_named_as_in_their_table(texts, repo_root):
    table = (repo_root / 'docs/NETWORK.md').read_text().partition('## Oddities')[2].partition('## Parity')[0]
    names = re.findall(r'^\| ([a-z]+(?:-[a-z]+)+) \|', table, re.MULTILINE)
    assert len(names) == len(set(names)) > 20
    for name in ('first-cell-empty', 'foggy-empty-space', 'z-as-distance', 'border-channel', 'strided-kernel-corner'):
        assert name in names and any(name in text for path, text in texts.items() if path.suffix == '.py'), name
