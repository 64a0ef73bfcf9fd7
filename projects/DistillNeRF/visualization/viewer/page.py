"""The page of one browser: its controls, and the pictures that it gets."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass

import numpy as np
from PIL import Image
from viser import CameraHandle, ClientHandle

from ...semantics.text_encoders import Queries
from ...utils.errors import InputError
from ..options import DEFAULT_QUERY
from .colorizer import RGB, TEXT
from .drawing import BOXES, FOUND, draw_cells
from .flight import DEFAULT_SPEED, SPEEDS, Flight, go_to, jump_targets
from .session import SNAPSHOT_ROWS, Picture, Session
from .viewpoints import Viewpoint
from .worker import Job, Worker

JPEG_QUALITY = 90
CHOSEN_COLOR = 'orange'
# A cell is shown if it is as likely what is asked for.
LIKELY = 0.5


@dataclass
class SharedState:
    """State that all browsers share.

    Attributes:
        session: the scene that is shown, ready to be rendered.
        trajectories: names of the trajectories that a camera can follow.
        worker: does all heavy work.
    """

    session: Session
    trajectories: tuple[str, ...]
    worker: Worker


class Page:
    """The view and the controls of one browser.

    Args:
        shared: state that all browsers share.
        client: the browser.
    """

    def __init__(self, shared: SharedState, client: ClientHandle) -> None:
        self._shared = shared
        self._client = client
        self._viewpoint = Viewpoint.of_browser(client.camera)
        self._mode = shared.session.colorizer.default_mode
        self._flight = Flight(client, lambda: self._viewpoint, shared.trajectories[0])
        self._add_modes()
        self._add_flight()
        # Run in the event loop: it reads the camera between two messages, and only hands work over.
        client.camera.on_update(self._moved)
        # The browser may have moved to the first camera while the controls were made, before anybody listened.
        self._viewpoint = Viewpoint.of_browser(client.camera)
        self.refresh()

    def close(self) -> None:
        """Drop all work for this browser, which is gone."""
        self._flight.pause()
        self._shared.worker.forget(self._client.client_id)
        self._shared.worker.forget(('snapshot', self._client.client_id))
        self._shared.worker.forget((FOUND, self._client.client_id))

    def renew(self) -> None:
        """Draw anew what depends on the scene, which is another one."""
        self.refresh()
        self._find()

    def refresh(self) -> None:
        """Draw anew, coarse pictures first."""
        self._shared.worker.submit(self._client.client_id, self._refine(self._viewpoint, self._mode))

    def follow(self, before: np.ndarray, after: np.ndarray) -> None:
        """Move the camera as something moved that had these poses ``(4, 4)``."""
        go_to(self._client, after @ np.linalg.inv(before) @ self._viewpoint.cam2world)

    async def _moved(self, camera: CameraHandle) -> None:
        self._viewpoint = Viewpoint.of_browser(camera)
        self.refresh()

    # The folder "Show".

    def _add_modes(self) -> None:
        gui, colorizer = self._client.gui, self._shared.session.colorizer
        reasons = {mode: colorizer.unavailable_reason(mode) for mode in colorizer.modes}
        with gui.add_folder('Show'):
            self._status = gui.add_markdown('')
            self._rendered = gui.add_checkbox('rendered picture', True)
            self._buttons = {
                mode: gui.add_button(mode, disabled=reason is not None, hint=reason) for mode, reason in reasons.items()
            }
            if TEXT in reasons:
                self._add_words(disabled=reasons[TEXT] is not None)
            gui.add_markdown('\n\n'.join(f'*{reason}*' for reason in reasons.values() if reason is not None))
            snapshot = gui.add_button('Save a snapshot', icon='camera')
        self._rendered.on_update(lambda _: self.refresh())
        snapshot.on_click(lambda _: self._save())
        for mode, button in self._buttons.items():
            button.on_click(lambda _, mode=mode: self._choose(mode))
        self._mark()

    def _add_words(self, disabled: bool) -> None:
        gui = self._client.gui
        self._word = gui.add_text('word', DEFAULT_QUERY[0], disabled=disabled)
        self._found = gui.add_checkbox('cells of the word', False, disabled=disabled)
        self._least = gui.add_slider('at least', 0.0, 1.0, 0.05, LIKELY, disabled=disabled)
        self._word.on_update(lambda _: (self._choose(TEXT), self._find()))
        self._found.on_update(lambda _: self._find())
        self._least.on_update(lambda _: self._find())

    def _find(self) -> None:
        """Show the cells that are what the word asks for, or take them away."""
        if TEXT in self._buttons:
            self._shared.worker.submit((FOUND, self._client.client_id), self._draw_found())

    def _draw_found(self) -> Job:
        session, scene = self._shared.session, self._client.scene
        try:
            query = session.colorizer.query(self._word.value) if self._found.value else None
        except InputError as error:
            self._status.content, query = f'**{error}**', None
        cells = None if query is None else session.found_cells(query, self._least.value)
        yield
        if cells is None or not len(cells.cells):
            scene.remove_by_name(FOUND)
        else:
            draw_cells(scene, cells, BOXES, True, FOUND)
        self._found.label = 'cells of the word' if cells is None else f'cells of the word: {len(cells.cells)}'
        yield True

    def _choose(self, mode: str) -> None:
        self._mode = mode
        self._mark()
        self.refresh()

    def _mark(self) -> None:
        for mode, button in self._buttons.items():
            button.color = CHOSEN_COLOR if mode == self._mode else 'gray'

    def _refine(self, viewpoint: Viewpoint, mode: str) -> Job:
        """Send finer and finer pictures of one view."""
        if not self._rendered.value:
            self._client.scene.set_background_image(None)
            self._status.content = ''
            return
        try:
            query = self._query(mode)
        except InputError as error:
            self._status.content = f'**{error}**'
            return
        began = time.perf_counter()
        for picture in self._shared.session.pictures(viewpoint, mode, query):
            if picture is not None:
                self._send(picture, mode)
                seconds = time.perf_counter() - began
                self._status.content = f'{picture.columns} x {picture.rows} rays after {seconds:.2f} s'
            yield picture is not None

    def _query(self, mode: str) -> Queries | None:
        return self._shared.session.colorizer.query(self._word.value) if mode == TEXT else None

    def _send(self, picture: Picture, mode: str) -> None:
        # JPEG would blur the colors of color maps; photographs can stand it.
        kind = 'jpeg' if mode == RGB else 'png'
        self._client.scene.set_background_image(picture.image, format=kind, jpeg_quality=JPEG_QUALITY)

    def _save(self) -> None:
        job = self._snapshot(self._viewpoint, self._mode)
        self._shared.worker.submit(('snapshot', self._client.client_id), job)

    def _snapshot(self, viewpoint: Viewpoint, mode: str) -> Job:
        """Render one fine picture and send it as a file."""
        try:
            query = self._query(mode)
        except InputError as error:
            self._status.content = f'**{error}**'
            return
        for picture in self._shared.session.pictures(viewpoint, mode, query, (SNAPSHOT_ROWS,)):
            if picture is not None:
                file = io.BytesIO()
                Image.fromarray(picture.image).save(file, format='PNG')
                name = f'distillnerf_{mode.replace(" ", "_")}.png'
                self._client.send_file_download(name, file.getvalue(), save_immediately=True)
            yield picture is not None

    # The folder "Fly".

    def _add_flight(self) -> None:
        gui, flight = self._client.gui, self._flight
        with gui.add_folder('Fly'):
            target = gui.add_dropdown('go to', tuple(jump_targets(self._shared.session.viewed)))
            go = gui.add_button('Go', icon='map-pin')
            name = gui.add_dropdown('trajectory', self._shared.trajectories)
            speed = gui.add_slider('poses per second', *SPEEDS, step=1, initial_value=DEFAULT_SPEED)
            play = gui.add_button('Play', icon='player-play')

        def fly_to(_) -> None:
            pause()
            # Not every camera has an image at every time of a drive.
            if (there := jump_targets(self._shared.session.viewed).get(target.value)) is not None:
                go_to(self._client, there.cam2world)

        def pause() -> None:
            flight.pause()
            play.label, play.icon = 'Play', 'player-play'

        def toggle(_) -> None:
            if flight.playing:
                pause()
            else:
                flight.play()
                play.label, play.icon = 'Pause', 'player-pause'

        go.on_click(fly_to)
        name.on_update(lambda _: flight.choose(name.value))
        speed.on_update(lambda _: setattr(flight, 'speed', float(speed.value)))
        play.on_click(toggle)
