"""Color renderings as pictures: RGB, depth, features or similarity to a word."""

from __future__ import annotations

import numpy as np

from ...models.scene import Rendering, Scene
from ...semantics.feature_colors import FeatureColors
from ...semantics.text_encoders import Encoder, Queries, make_queries, phrases_of
from ...utils.errors import InputError
from ..colors import depth_to_colors, log_shares
from ..feature_rows import draw_heat_map
from ..options import DEFAULT_QUERY
from ..panel_layout import to_uint8
from ..panels import MIN_OPACITY

RGB, DEPTH, FEATURES, TEXT = MODES = ('RGB', 'depth', 'features', 'text query')
# The output that each mode needs.
NEEDS = {RGB: 'rgb', DEPTH: 'depth', FEATURES: 'features', TEXT: 'features'}


class Colorizer:
    """Color renderings of one scene.

    Args:
        scene: the scene.
        palette: colors of its rendered features.
        text_encoder: ``model.text_encoder`` of the config; ``None`` for none.

    Attributes:
        modes: what can be shown, at least of some scenes.
    """

    modes = MODES

    def __init__(self, scene: Scene, palette: FeatureColors, text_encoder: Encoder) -> None:
        self._head = scene.head
        self._palette = palette
        self._encoder = text_encoder
        self._channels = len(palette.mean)

    @property
    def default_mode(self) -> str:
        """Return the mode to begin with."""
        return RGB if self.unavailable_reason(RGB) is None else FEATURES

    def unavailable_reason(self, mode: str) -> str | None:
        """Return why this scene cannot be shown in a mode; ``None`` if it can."""
        if mode == RGB and self._head.renders != 'rgb':
            return 'no RGB: this network renders features'
        if mode == TEXT:
            if self._head.renders != 'features':
                return 'no text query: this network renders colors, not the features of a foundation model'
            try:
                self.query(DEFAULT_QUERY[0])
            except InputError as error:
                return f'no text query: {error}'
        return None

    def query(self, words: str) -> Queries:
        """Encode a text query, such as ``a red car`` or ``car|van``, for the rendered features.

        Raises:
            InputError: there is no encoder, it does not fit the network, or it does not know the words.
        """
        return make_queries(self._encoder, [phrases_of(words)], self._channels)

    def colorize(self, rendering: Rendering, mode: str, query: Queries | None = None) -> np.ndarray:
        """Color a rendering: RGB ``(H, W, 3)``, other modes ``(h, w, 3)``, uint8.

        Args:
            rendering: the rendering of one camera, with the output that :data:`NEEDS` names.
            mode: one of :data:`MODES`.
            query: the text query.
        """
        if mode == RGB:
            return to_uint8(rendering.rgb)[0]
        depth, sky = rendering.depth[0].cpu().numpy(), (rendering.opacity[0] < MIN_OPACITY).cpu().numpy()
        if mode == DEPTH:
            return depth_to_colors(depth, sky)
        if mode == FEATURES:
            return self._palette.colors(rendering.features[0].movedim(0, -1))
        similarity = query.heat_maps(rendering.features)[0, 0]
        return draw_heat_map(similarity.cpu().numpy(), _relief(depth, sky))


def _relief(depth: np.ndarray, sky: np.ndarray) -> np.ndarray:
    """Shade depth as ``(h, w, 3)`` uint8, near bright and far dark, so that shapes show under a heat map."""
    shares = np.where(sky, 0, 1 - log_shares(depth).clip(0, 1))
    return np.repeat((shares * 255).astype(np.uint8)[..., None], 3, axis=-1)
