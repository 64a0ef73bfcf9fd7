"""One forward pass of a variant with the weights of the rule, and the scalar losses of its gradients."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.models.network import DistillNeRF, Encoded
from projects.DistillNeRF.models.scene import Rendering, Scene
from verification.parity.vectors import Vectors
from verification.parity.weights import normal_by_name, shared_rule_network


@dataclass(frozen=True)
class Run:
    """One variant, computed once.

    Attributes:
        composite: ``(1, T, h, w, C)``, the published layout.
        coarse_logits: ``(N, D, H, W)`` before their clamp.
        scores: ``(N, H, W, K)`` of the candidates, before the sigmoid.
    """

    network: DistillNeRF
    encoded: Encoded
    rendering: Rendering
    inputs: Cameras
    targets: Cameras
    composite: Tensor
    coarse_logits: Tensor
    scores: Tensor

    @property
    def recons(self) -> Tensor:
        """Return the result: RGB ``(T, 3, H, W)``, or the composite with a feature head."""
        return self.composite if self.rendering.rgb is None else self.rendering.rgb

    def losses(self) -> dict[str, Tensor]:
        """Return the terms whose sums are the scalar losses of the vectors, flat.

        A: through everything; C: of the coarse depth; F: of the fine depth; B is both.
        """

        def against(name: str, values: Tensor) -> Tensor:
            return (values * torch.from_numpy(normal_by_name(name, tuple(values.shape))).to(values)).flatten()

        coarse = against('grad_coarse_depth', self.encoded.coarse.depth)
        fine = against('grad_fine_depth', self.encoded.fine.depth)
        return {
            'A': torch.cat([against('grad_recons', self.recons), against('grad_depth', self.rendering.depth[:, None])]),
            'B': torch.cat([coarse, fine]),
            'C': coarse,
            'F': fine,
        }


def run_network(vectors: Vectors, variant: str, dtype: torch.dtype) -> Run:
    """Run the network of the weights rule on the inputs of the vectors, in ``dtype``, with gradients."""
    network = shared_rule_network(variant, dtype, vectors.device)
    kept: dict[str, list[Tensor]] = {'logits': [], 'scores': [], 'composites': []}
    hooks = [
        network.coarse_net.head.register_forward_hook(lambda *call: kept['logits'].append(call[-1])),
        network.fine_net.scorer.register_forward_hook(lambda *call: kept['scores'].append(call[-1])),
        network.head.register_forward_pre_hook(lambda module, inputs: kept['composites'].append(inputs[0])),
    ]
    views = vectors.views(dtype)
    targets = vectors.targets(dtype)
    encoded = network.encode([views])[0]
    rendering = render_classes(encoded.scene, targets, vectors.camera_classes)
    for hook in hooks:
        hook.remove()
    composite = torch.cat(kept['composites']).permute(0, 2, 3, 1)[None]
    return Run(network, encoded, rendering, views.cameras, targets, composite, kept['logits'][0], kept['scores'][0])


def render_classes(scene: Scene, cameras: Cameras, classes: list[int]) -> Rendering:
    """Render every camera with its own class."""
    parts = [scene.render(cameras[i : i + 1], camera_class=c) for i, c in enumerate(classes)]
    known = [field.name for field in fields(Rendering) if getattr(parts[0], field.name) is not None]
    return Rendering(**{name: torch.cat([getattr(part, name) for part in parts]) for name in known})
