"""From what a camera sees to a picture, in any of the ways in which it can be looked at."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ...models.scene import Rendering, Scene
from ...semantics.feature_colors import FeatureColors
from ...semantics.text_encoders import encode_words, similarities
from ...utils.errors import InputError
from ..colors import depth_to_colors, log_shares
from ..feature_rows import draw_heat_map
from ..options import USUAL_QUERY
from ..panel_layout import to_uint8
from ..panels import OPAQUE

RGB, DEPTH, FEATURES, TEXT = MODES = ('RGB', 'depth', 'features', 'text query')
# What has to be rendered for each.
NEEDS = {RGB: 'rgb', DEPTH: 'depth', FEATURES: 'features', TEXT: 'features'}


class Colorizer:
    """Paints what is seen of one scene.

    Args:
        scene: the scene.
        palette: colors of what its rays composite.
        text_encoder: what makes vectors of words (:mod:`..text_queries`); ``None`` for none.
    """

    def __init__(self, scene: Scene, palette: FeatureColors, text_encoder: str | None) -> None:
        self._head = scene.head
        self._palette = palette
        self._encoder = text_encoder
        self._channels = len(palette.mean)

    @property
    def usual_mode(self) -> str:
        """The first thing to show."""
        return RGB if self.why_not(RGB) is None else FEATURES

    def why_not(self, mode: str) -> str | None:
        """Why this scene cannot be looked at in this way; ``None`` if it can."""
        if mode == RGB and self._head.renders != 'rgb':
            return 'no RGB: this network renders features'
        if mode == TEXT:
            if self._head.renders != 'features':
                return 'no text query: this network renders colors, not the features of a foundation model'
            try:
                self.vector(USUAL_QUERY[0])
            except InputError as error:
                return f'no text query: {error}'
        return None

    def vector(self, word: str) -> Tensor:
        """``(1, C)`` what a word is in the space of the rendered features.

        Raises:
            InputError: no encoder, it does not fit the network, or it does not know the word.
        """
        return encode_words(self._encoder, [word.strip().replace(' ', '_')], self._channels)

    def colorize(self, rendering: Rendering, mode: str, vector: Tensor | None = None) -> np.ndarray:
        """A picture ``(H, W, 3)`` of RGB, or ``(h, w, 3)`` of the others, uint8.

        Args:
            rendering: of one camera, with what :data:`NEEDS` says.
            mode: one of :data:`MODES`.
            vector: ``(1, C)`` of the text query.
        """
        if mode == RGB:
            return to_uint8(rendering.rgb)[0]
        depth, sky = rendering.depth[0].cpu().numpy(), (rendering.opacity[0] < OPAQUE).cpu().numpy()
        if mode == DEPTH:
            return depth_to_colors(depth, sky)
        if mode == FEATURES:
            return self._palette.colors(rendering.features[0].movedim(0, -1))
        similarity = similarities(rendering.features, vector)[0, 0]
        return draw_heat_map(similarity.cpu().numpy(), _relief(depth, sky))


def _relief(depth: np.ndarray, sky: np.ndarray) -> np.ndarray:
    """``(h, w, 3)`` uint8: near things bright, far ones dark, so that shapes show under a heat map."""
    shares = np.where(sky, 0, 1 - log_shares(depth).clip(0, 1))
    return np.repeat((shares * 255).astype(np.uint8)[..., None], 3, axis=-1)
