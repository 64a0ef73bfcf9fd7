"""The server of the viewer, for any number of browsers."""

from __future__ import annotations

import contextlib
import io
import socket
import threading

import viser

from ...geometry.trajectories import TRAJECTORIES, trajectory
from ...semantics.text_encoders import Encoder
from ...utils.errors import InputError
from .drawing import FRUSTA, NEAR_PLANE, SHAPES, draw_cells, draw_frusta, set_light
from .page import Page, SharedState
from .scenes import SceneSource
from .session import RenderSession, Session
from .worker import Job, Worker

LABEL = 'DistillNeRF'
DEFAULT_HOST, DEFAULT_PORT = '127.0.0.1', 8080
DEFAULT_PATH = next(iter(TRAJECTORIES))


class Viewer:
    """Serve one scene at a time to any number of browsers.

    Args:
        source: the scenes.
        number: number of the first scene.
        text_encoder: ``model.text_encoder`` of the config; ``None`` for none.
        path: the trajectory that is offered first: its name, or a file of poses.
        host, port: address to listen at; port 0 takes any that is free.

    Attributes:
        unit: what the numbers of the source count.
        shared: state that all browsers share.
        url: address of the page.

    Raises:
        InputError: there is no such scene or trajectory, files are bad, or the address cannot be used.
    """

    unit = 'sample'

    def __init__(
        self,
        source: SceneSource,
        number: int = 0,
        text_encoder: Encoder = None,
        path: str = DEFAULT_PATH,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
    ) -> None:
        require_free(host, port)
        trajectory(path)  # raises if there is none
        self._source = source
        self._encoder = text_encoder
        trajectories = tuple(dict.fromkeys([path, *TRAJECTORIES]))
        self.shared = SharedState(self._open_session(number), trajectories, Worker())
        self._pages: dict[int, Page] = {}
        self._server = _open(host, port)
        self.url = f'http://{host}:{self._server.get_port()}'
        self._server.scene.set_up_direction('+z')
        set_light(self._server.scene)
        self._set_first_camera()
        self._add_controls(number)
        self._draw()
        self._server.on_client_connect(self._connected)
        self._server.on_client_disconnect(self._disconnected)

    def serve(self) -> None:
        """Serve until someone presses Ctrl-C."""
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            self.close()

    def close(self) -> None:
        """Stop the server and all work."""
        for page in list(self._pages.values()):
            page.close()
        self.shared.worker.close()
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    def choose(self, number: int) -> None:
        """Show another scene as soon as it is made."""
        self.shared.worker.submit('scene', self._change(number))

    def _change(self, number: int) -> Job:
        self._note.content = f'*working: making the scene of {self.unit} {number} ...*'
        yield
        try:
            session = self._open_session(number)
        except InputError as error:
            self._note.content = f'**{error}**'
            return
        except Exception:
            self._note.content = f'**{self.unit} {number} failed; the terminal says why**'
            raise
        before, self.shared.session = self.shared.session, session
        self._draw()
        self._replaced(before)
        self._refresh()

    def _open_session(self, number: int) -> Session:
        return RenderSession(self._source.load(number), self._encoder)

    def _replaced(self, before: Session) -> None:
        """Do what is to be done when another session has taken the place of one."""

    def _refresh(self) -> None:
        for page in list(self._pages.values()):
            page.renew()

    def _set_first_camera(self) -> None:
        """Let browsers begin at the front camera."""
        front, camera = self.shared.session.viewed.front, self._server.initial_camera
        camera.position, camera.look_at = front.position, front.look_at
        camera.fov, camera.near = front.fov, NEAR_PLANE

    def _add_controls(self, number: int) -> None:
        gui = self._server.gui
        # Sharing would send the page through another company's server.
        gui.configure_theme(show_share_button=False)
        self._note = gui.add_markdown('')
        if len(self._source) > 1:
            picker = gui.add_slider(self.unit, 0, len(self._source) - 1, 1, number)
            picker.on_update(lambda _: self.choose(picker.value))
        known = self.shared.session.viewed.images is not None
        self._frusta = gui.add_checkbox('cameras', known, disabled=not known)
        self._frusta.on_update(lambda _: self._draw_frusta())
        self._add_shapes()

    def _add_shapes(self) -> None:
        gui = self._server.gui
        self._cells = gui.add_checkbox('occupied cells', False)
        self._shape = gui.add_dropdown('cells as', SHAPES)
        self._cells.on_update(lambda _: self._draw_shapes())
        self._shape.on_update(lambda _: self._draw_shapes())

    def _draw(self) -> None:
        self._note.content = self._about()
        with self._server.atomic():
            self._draw_frusta()
            self._draw_shapes()

    def _about(self) -> str:
        session = self.shared.session
        return f'{session.viewed.title}: {len(session.cells.cells)} occupied cells'

    def _draw_frusta(self) -> None:
        draw_frusta(self._server.scene, self.shared.session.viewed)
        self._server.scene.get_handle_by_name(FRUSTA).visible = self._frusta.value

    def _draw_shapes(self) -> None:
        draw_cells(self._server.scene, self.shared.session.cells, self._shape.value, self._cells.value)

    def _connected(self, client: viser.ClientHandle) -> None:
        self._pages[client.client_id] = Page(self.shared, client)

    def _disconnected(self, client: viser.ClientHandle) -> None:
        page = self._pages.pop(client.client_id, None)
        if page is not None:
            page.close()


def require_free(host: str, port: int) -> None:
    """Check that a server can listen at an address.

    Raises:
        InputError: the address cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the server does: a port that was in use a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Not the port of the address: a name is looked up for any port, modulo 65536.
            probe.bind((address[0], port, *address[2:]))
    except (OSError, OverflowError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise InputError(f'{host}:{port}: cannot listen there ({reason}); choose another --port or --host') from error


def _open(host: str, port: int) -> viser.ViserServer:
    # It prints a panel of addresses, of which ours is one line.
    with contextlib.redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host=host, port=port, label=LABEL, verbose=False)
    if port not in (0, server.get_port()):
        with contextlib.redirect_stdout(io.StringIO()):
            server.stop()
        raise InputError(f'{host}:{port}: was taken a moment ago; choose another --port')
    return server
