"""The cells that a text query finds, from the scene to the browser's."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import viser

from projects.DistillNeRF.semantics.text_encoders import Queries, make_queries
from projects.DistillNeRF.visualization.colors import color_shares
from projects.DistillNeRF.visualization.panel_layout import ERROR_COLORMAP
from projects.DistillNeRF.visualization.viewer.colorizer import TEXT
from projects.DistillNeRF.visualization.viewer.drawing import FOUND
from projects.DistillNeRF.visualization.viewer.page import LIKELY, Page, SharedState
from projects.DistillNeRF.visualization.viewer.scenes import ViewerScene, ring
from projects.DistillNeRF.visualization.viewer.session import RenderSession
from tests.helpers.scenes import street

ENCODER = 'minitown_code_book'


class Handed:
    """A worker that keeps jobs until they are run."""

    def __init__(self) -> None:
        self.jobs = {}

    def submit(self, key, job) -> None:
        self.jobs[key] = job

    def forget(self, key) -> None:
        self.jobs.pop(key, None)


@pytest.fixture(scope='module')
def session() -> RenderSession:
    scene = street('feature')
    return RenderSession(ViewerScene('by hand', scene, ring(scene), ('a', 'b', 'c', 'd', 'e', 'f'), None), ENCODER)


@pytest.fixture
def page(session) -> Iterator[Page]:
    """The page of a browser whose place a server takes; nobody looks at it."""
    server = viser.ViserServer(host='127.0.0.1', port=0, verbose=False)
    camera = SimpleNamespace(
        wxyz=np.array([1.0, 0, 0, 0]), position=np.zeros(3), fov=0.8, aspect=1.6, on_update=lambda _: None
    )
    client = SimpleNamespace(gui=server.gui, scene=server.scene, camera=camera, client_id=0)
    yield Page(SharedState(session, ('left_right',), Handed()), client)
    server.stop()


@torch.no_grad()
def test_cells_are_those_that_rays_would_find(session):
    """By hand: what a ray renders that sees a cell alone, compared with the word."""
    query = session.colorizer.query('car')
    cells = session.cells.cells
    features = session.scene.head.opaque(cells.features)
    cosines = torch.nn.functional.cosine_similarity(features, query.vectors, dim=1)
    threshold = cosines.quantile(0.9).item()
    found = session.found_cells(query, threshold)
    chosen = cosines >= threshold
    assert 0 < chosen.sum() < len(cells) / 5
    assert torch.equal(found.cells.centers, cells.centers[chosen])
    expected = color_shares(cosines[chosen].clamp(0, 1).numpy(), ERROR_COLORMAP)
    assert np.abs(found.colors.astype(int) - expected).max() <= 1
    assert len(session.found_cells(query, 1.01).cells) == 0
    assert len(session.found_cells(query, -1.01).cells) == len(cells)


@torch.no_grad()
def test_cells_are_drawn_while_they_are_asked_for(page, session, monkeypatch):
    jobs, scene = page._shared.worker.jobs, page._client.scene

    def drawn(found: bool, word: str, least: float) -> int | None:
        """How many boxes are in the scene; None without."""
        page._found.value, page._word.value, page._least.value = found, word, least
        list(jobs.pop((FOUND, 0)))
        handle = scene._handle_from_node_name.get(FOUND)
        return None if handle is None else len(handle.batched_positions)

    assert page._least.value == LIKELY and not page._found.value and (FOUND, 0) not in jobs
    heat = session.colorizer.query('car').heat(session._cell_features)[:, 0]
    least = round(heat.quantile(0.95).item() / 0.05) * 0.05
    assert drawn(True, 'car', least) == int((heat >= least).sum()) > 0
    assert drawn(True, 'car', 1.0) is None
    both = torch.stack([session.colorizer.query(word).heat(session._cell_features)[:, 0] for word in ('car', 'sky')])
    assert drawn(True, 'car|sky', 0.05) == int((both.amax(0) >= 0.05).sum()) > 0
    assert drawn(False, 'car', 0.0) is None
    assert drawn(True, 'dragon', 0.0) is None and "'dragon' is no class" in page._status.content
    assert drawn(True, ' ', 0.0) is None and 'is empty' in page._status.content
    # Another scene: they are looked for again.
    page.renew()
    assert set(jobs) >= {0, (FOUND, 0)}
    page.close()
    assert (FOUND, 0) not in jobs


def test_words_are_not_offered_where_they_find_nothing():
    scene = street()
    viewed = ViewerScene('colors', scene, ring(scene), ('a', 'b', 'c', 'd', 'e', 'f'), None)
    session = RenderSession(viewed, ENCODER)
    assert 'renders colors' in session.colorizer.unavailable_reason(TEXT)


def test_queries_with_a_temperature_find_shares(session):
    """The threshold is one of shares then."""
    plain = make_queries(ENCODER, [['car']], 64)
    soft = Queries(plain.vectors, temperature=0.05, negatives=make_queries(ENCODER, [['sky'], ['road']], 64).vectors)
    with torch.no_grad():
        found = session.found_cells(soft, 0.5)
        heat = soft.heat(session._cell_features)[:, 0]
    assert len(found.cells) == int((heat >= 0.5).sum()) and heat.min() >= 0 and heat.max() <= 1
