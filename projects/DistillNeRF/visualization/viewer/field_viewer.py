"""The viewer of a field of a whole drive: a slider for the time, and switches for what is shown."""

from __future__ import annotations

from .field_session import FieldSession
from .server import Viewer


class FieldViewer(Viewer):
    """Serve a field at one time of its drive to any number of browsers; arguments as :class:`.Viewer`."""

    unit = 'keyframe'
    _hidden: frozenset[str] = frozenset()

    def _open_session(self, number: int) -> FieldSession:
        return FieldSession(self._source.load(number), self._hidden)

    def _add_shapes(self) -> None:
        gui = self._server.gui
        self._ride = gui.add_checkbox('ride along', False, hint='cameras move as the car does, keyframe by keyframe')
        self._ride.visible = len(self._source) > 1
        self._parts = {part: gui.add_checkbox(part, True) for part in self.shared.session.viewed.parts}
        for box in self._parts.values():
            box.on_update(lambda _: self._switch())

    def _draw_shapes(self) -> None:
        """Draw nothing: a field has too many cells."""

    def _about(self) -> str:
        return self.shared.session.viewed.title

    def _switch(self) -> None:
        self._hidden = self.shared.session.hidden = frozenset(p for p, box in self._parts.items() if not box.value)
        self._refresh()

    def _replaced(self, before: FieldSession) -> None:
        """Take the cameras of all browsers along, where that is wished."""
        # A switch may have been used while the session was made.
        self.shared.session.hidden = self._hidden
        if self._ride.value:
            old, new = (session.viewed.front.cam2world for session in (before, self.shared.session))
            for page in list(self._pages.values()):
                page.follow(old, new)
