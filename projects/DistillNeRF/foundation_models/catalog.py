"""Which weights of foundation models there are, where they come from, and where configs look for them.

Sizes are those of the download and approximate; what the hub reports is shown before it begins. A checksum stands here
only where it is known for certain; else that of the hub counts.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from ..utils.errors import InputError

FOLDER = 'aux_models'
# What an entry becomes: a folder for transformers, a single file, or the file of LPIPS, which is made of two.
TRANSFORMERS, FILE, LPIPS = 'folder', 'file', 'lpips'


@dataclass(frozen=True)
class Weights:
    """Weights of one model.

    Attributes:
        name: on the command line.
        about: what they are for.
        repo: id on the hub.
        license: of the weights.
        megabytes: size of the download, approximate.
        place: below the folder of all weights, under the name that configs have.
        kind: ``TRANSFORMERS``, ``FILE`` or ``LPIPS``.
        repo_type: ``model`` or ``space``.
        file: its path in the repository, of the kind ``FILE``.
        sha256: of this file, where it is known.
    """

    name: str
    about: str
    repo: str
    license: str
    megabytes: int
    place: str
    kind: str = TRANSFORMERS
    repo_type: str = 'model'
    file: str | None = None
    sha256: str | None = None

    def path(self, root: Path) -> Path:
        """Return the file or folder below the folder of all weights."""
        return root / self.place


NON_COMMERCIAL = 'CC-BY-NC-4.0 (no commercial use)'
CATALOG = (
    Weights(
        'depth-anything-v1',
        'frozen depth features of the published configs (ViT-B)',
        'LiheYoung/Depth-Anything',
        'Apache-2.0',
        390,
        'depth_anything_vitb14.pth',
        FILE,
        'space',
        'checkpoints/depth_anything_vitb14.pth',
        '64ae214ae4e27424b644c49464c0aa243016f6f753d95097c8eb9ad0b9cb2d9b',
    ),
    Weights(
        'depth-anything-v1-hub',
        'the same network for transformers: relative depth',
        'LiheYoung/depth-anything-base-hf',
        'Apache-2.0',
        390,
        'depth-anything-base-hf',
    ),
    Weights(
        'depth-anything-v2-small',
        'relative depth; frozen features with depth_channels=64',
        'depth-anything/Depth-Anything-V2-Small-hf',
        'Apache-2.0',
        99,
        'depth-anything-v2-small-hf',
    ),
    Weights(
        'depth-anything-v2-base',
        'relative depth; frozen features in place of v1',
        'depth-anything/Depth-Anything-V2-Base-hf',
        NON_COMMERCIAL,
        390,
        'depth-anything-v2-base-hf',
    ),
    Weights(
        'depth-anything-v2-metric-outdoor-small',
        'metric depth, up to 80 m',
        'depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf',
        'Apache-2.0',
        99,
        'depth-anything-v2-metric-outdoor-small-hf',
    ),
    Weights(
        'depth-anything-3-metric-large',
        'metric depth and sky; in the format of its own package',
        'depth-anything/DA3METRIC-LARGE',
        'Apache-2.0',
        1400,
        'da3metric-large',
    ),
    Weights(
        'clip-vitl14-336',
        'CLIP features and words',
        'openai/clip-vit-large-patch14-336',
        'MIT (of the code of CLIP; its model card says none)',
        1710,
        'clip/clip-vit-large-patch14-336',
    ),
    Weights('dinov2-vitb14', 'DINOv2 features', 'facebook/dinov2-base', 'Apache-2.0', 346, 'dinov2-base'),
    Weights(
        'siglip2-base',
        'SigLIP 2 features and words',
        'google/siglip2-base-patch16-384',
        'Apache-2.0',
        1500,
        'siglip2-base-patch16-384',
    ),
    Weights(
        'segformer-b5-cityscapes',
        'sky and Cityscapes classes',
        'nvidia/segformer-b5-finetuned-cityscapes-1024-1024',
        'NVIDIA Source Code License for SegFormer (no commercial use)',
        340,
        'segformer-b5-finetuned-cityscapes-1024-1024',
    ),
    Weights(
        'mask2former-cityscapes',
        'sky and Cityscapes classes',
        'facebook/mask2former-swin-large-cityscapes-semantic',
        'other: see its model card (the code of Mask2Former is MIT)',
        870,
        'mask2former-swin-large-cityscapes-semantic',
    ),
    Weights(
        'lpips-vgg',
        'LPIPS, as loss and as figure',
        'timm/vgg16.tv_in1k',
        'BSD-3-Clause (VGG-16 of torchvision), BSD-2-Clause (LPIPS)',
        553,
        'lpips_vgg.pth',
        LPIPS,
    ),
)


def named(name: str) -> Weights:
    """Return the entry of a name.

    Raises:
        InputError: there is none; says which are near.
    """
    names = [entry.name for entry in CATALOG]
    if name not in names:
        near = difflib.get_close_matches(name, names, 3, 0.4)
        hint = f'did you mean {", ".join(near)}?' if near else f'known: {", ".join(names)}'
        raise InputError(f'no weights of the name {name!r}; {hint}')
    return CATALOG[names.index(name)]


def at_place(path: str | Path) -> Weights | None:
    """Return the entry that a config means by a path such as ``aux_models/lpips_vgg.pth``, or by an id on the hub."""
    parts = Path(path).parts
    for entry in CATALOG:
        place = Path(entry.place).parts
        if parts == Path(entry.repo).parts or (parts[-len(place) :] == place and FOLDER in parts[: -len(place)]):
            return entry
    return None
