"""The dataset class: it chooses frames, cameras and targets; the transforms then load exactly those."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet3d.registry import DATASETS
from mmengine.dataset import BaseDataset, force_full_init
from torch.utils.data import Dataset

from ..evaluation.occupancy.label_maps import LabelMap
from ..evaluation.occupancy.labels import OccupancyRecord
from ..evaluation.protocols import protocol_named
from ..geometry.boxes import read_boxes
from ..utils.errors import InputError, warn
from ..utils.files import through_links
from .availability import (
    LIDAR,
    OCCUPANCY,
    OTHER_FRAMES,
    PAST,
    Availability,
    lidar_availability,
    lidar_note,
    require_boxes,
)
from .cache import cache_name, check_cache_exists
from .dataset_options import (
    check_count,
    checked_size,
    either_skip_missing,
    most_frontal,
    require_cameras,
    second_of_each_scene,
    thin_out,
)
from .file_checks import check_images_and_lidar
from .image_files import read_image, warn_of_exposure
from .infos import CONVERT_AGAIN, Info, lidar_measurements, load_infos
from .label_maps import check_label_maps, label_maps_of
from .map_checks import available_maps
from .occupancy import ego2lidar, label_availability, lidar_poses, occupancy_record
from .past_frames import PastFrames, check_num_past
from .protocol_frames import BETWEEN, frames_of
from .protocol_samples import Plan, Planned, ProtocolTargets, protocol_cameras
from .samplers import SeededIndex
from .target_frames import CURRENT, Key, NeighborTargets, existing, one_new_view_each
from .teacher_files import virtual_view_files
from .teacher_maps import at_render_size
from .view_records import ViewRecords
from .virtual_views import VirtualViews, virtual_view_names


@DATASETS.register_module()
class DistillNeRFDataset(BaseDataset):
    """Load samples of one keyframe: all its cameras as inputs; the same and, if asked for, other frames as targets.

    With ``num_past`` the images of the keyframe before come with the inputs (:attr:`..geometry.views.Views.past`).

    The world of a sample is the LiDAR frame of its current keyframe; cameras of other frames are brought into it
    through their global poses. A neighbor that does not exist is replaced by the current frame, and the sample says
    so under ``notes``.

    Args:
        ann_file: info file (``docs/DATA.md``), relative to ``data_root``.
        data_root: folder of the info file and of everything that ``data_prefix`` gives relative paths for.
        data_prefix: roots of ``img``, ``lidar``, ``teacher``, ``truth`` and ``features``, each relative to
            ``data_root``. A root that is not named is ``data_root`` itself.
        image_size: (height, width) of the images that the network sees and reconstructs.
        render_size: (height, width) at which the network renders; size of the LiDAR depth images.
        cameras: names and order of the cameras; None takes all in ring order (front left, front, front right,
            back right, back, back left).
        training_target_smart_sample: when training, one of the previous and next keyframe per camera, chosen at
            random, comes first among the targets, then the current frame.
        all_prev_frames: the two keyframes before the current one come first among the targets.
        add_next_frame_for_eval: in test mode, the next keyframe comes first among the targets.
        virtual_img_target_smart_sample: when training, a view of the teacher from a shifted camera (1 m to the left or
            right), one per camera chosen at random, comes between the other frames and the current one.
        enable_upward_virtual_cam: 1 m up is one of the choices.
        one_new_view_each: with both, per camera a view of another frame or a shifted one, at random, not both.
        num_past: 1 for the images of the keyframe before as further inputs, with poses in the world of the sample. The
            first keyframe of a scene has none, and the sample says so under ``notes``. No LiDAR or maps are read of it.
        num_camera: keep only so many of the cameras, those that look most to the front; None keeps all.
        lidar_range: LiDAR points at this z or beyond are left out, meters (published: 80, in linear space 50).
        lidar_sweeps: LiDAR measurements per keyframe, its own and the first that its record lists as ``lidar_sweeps``:
            those before it in nuScenes, the nearest in time in PandaSet (published: 1 or 10).
        load_lidar, load_teacher, load_truth, load_features: read LiDAR, teacher depth and sky masks, true depth, and
            teacher features.
        cache: folder of resized images and of LiDAR depth images (:mod:`.cache`), relative to ``data_root``, as
            ``tools/create_data.py cache`` makes it; None reads the files themselves. No number depends on it.
        resize_teacher: when training, bring teacher depth and sky masks that are larger to ``render_size``, where the
            losses compare them (:mod:`.teacher_maps`): less to hand over. Pictures show them at that size, too.
        load_boxes: read boxes of objects (:func:`..geometry.boxes.read_boxes`), for the detection head.
        gts: in test mode, folder of Occ3D labels, ``SCENE/TOKEN/labels.npz``, relative to ``data_root``; samples say
            where theirs are (:class:`..evaluation.occupancy.labels.OccupancyRecord`). Some may be missing.
        label_maps: in test mode, folder of 2D label maps of the images in the layout of teacher files, relative to
            ``data_root`` (docs/EVALUATION.md#classes-from-label-maps): from these, occupancy can have its classes.
        skip_missing: go on with NaN where teacher maps, truth or features are missing, and without label maps that
            are, and say once how many are.
        protocol: in test mode, name of a protocol (:data:`..evaluation.protocols.PROTOCOLS`) that chooses samples,
            targets and, unless ``num_camera`` does, cameras; samples then say under ``protocol`` what is scored of
            their targets. ``every_nth``, ``indices`` and ``require_lidar`` thin out what it chose.
        test_samples: ``all``, or ``second_of_scene``: the published choice, only the second sample of each scene.
        every_nth: keep every n-th sample of what is left; neighbors stay available as targets.
        require_lidar: keep only samples whose keyframe has LiDAR.
        indices: keep only the first n samples or the listed ones.
        pipeline: transforms; they fill and pack the views.
        test_mode: evaluate rather than train.
        lazy_init: do not read the info file yet.
        SKIP_MISSING: the published spelling of ``skip_missing``.

    Raises:
        InputError: bad info file, unknown camera, missing image, LiDAR or (without ``skip_missing``) map; a cache that
            does not have all images, or is stale.
    """

    MAPS = ('teacher', 'truth', 'features')

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        data_prefix: dict[str, str] | None = None,
        *,
        image_size: tuple[int, int],
        render_size: tuple[int, int],
        cameras: Sequence[str] | None = None,
        training_target_smart_sample: bool = False,
        all_prev_frames: bool = False,
        add_next_frame_for_eval: bool = False,
        virtual_img_target_smart_sample: bool = False,
        enable_upward_virtual_cam: bool = False,
        one_new_view_each: bool = False,
        num_past: int = 0,
        num_camera: int | None = None,
        lidar_range: float = 80.0,
        lidar_sweeps: int = 1,
        load_lidar: bool = True,
        load_teacher: bool = False,
        load_truth: bool = False,
        load_features: bool = False,
        load_boxes: bool = False,
        cache: str | None = None,
        resize_teacher: bool = False,
        gts: str | None = None,
        label_maps: str | None = None,
        skip_missing: bool | None = None,
        protocol: str | None = None,
        test_samples: str = 'all',
        every_nth: int = 1,
        require_lidar: bool = False,
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence[Any] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        SKIP_MISSING: bool | None = None,
    ) -> None:
        if test_samples not in ('all', 'second_of_scene'):
            raise InputError(f'test_samples is {test_samples!r}; choose all or second_of_scene')
        for name, value in {'every_nth': every_nth, 'num_camera': num_camera, 'lidar_sweeps': lidar_sweeps}.items():
            check_count(name, value)
        if not lidar_range > 1:
            raise InputError(f'lidar_range is {lidar_range}; give meters, more than 1')
        self.image_size = checked_size('image_size', image_size)
        self.render_size = checked_size('render_size', render_size)
        self.cameras = self._named_cameras = tuple(cameras) if cameras is not None else None
        if all_prev_frames and (training_target_smart_sample or (add_next_frame_for_eval and test_mode)):
            raise InputError('all_prev_frames and another choice of targets are set; leave one of them')
        if protocol is not None and (load_boxes or not test_mode):
            raise InputError(
                f'protocol is {protocol!r}, but these data are trained on; give it to test_dataloader.dataset'
            )
        self.protocol = None if protocol is None else protocol_named(protocol)
        self.all_prev_frames = all_prev_frames
        self.training_target_smart_sample = training_target_smart_sample
        self.add_next_frame_for_eval = add_next_frame_for_eval
        self._virtual_names = virtual_view_names(virtual_img_target_smart_sample, enable_upward_virtual_cam)
        self.one_new_view_each = one_new_view_each
        if one_new_view_each and not (training_target_smart_sample and virtual_img_target_smart_sample):
            raise InputError(
                'one_new_view_each chooses between other frames and shifted views; set training_target_smart_sample '
                'and virtual_img_target_smart_sample, too'
            )
        self.num_past = check_num_past(num_past)
        self.num_camera = num_camera
        self.lidar_range = lidar_range
        self.lidar_sweeps = lidar_sweeps
        self.load_lidar = load_lidar
        self.loaded_maps = tuple(
            name for name, wanted in zip(self.MAPS, (load_teacher, load_truth, load_features), strict=True) if wanted
        )
        self.load_boxes = load_boxes
        below = Path(data_root).expanduser()
        self.cache = None if cache is None else str(below / Path(cache).expanduser())
        self.gts = None if gts is None else str(below / Path(gts).expanduser())
        self.label_maps = None if label_maps is None else str(below / Path(label_maps).expanduser())
        self.resize_teacher = resize_teacher and not test_mode
        self.skip_missing = either_skip_missing(skip_missing, SKIP_MISSING)
        self.test_samples = test_samples
        self.every_nth = every_nth
        self.require_lidar = require_lidar
        self._chosen = indices
        roots = dict.fromkeys(('img', 'lidar', *self.MAPS), '') | (data_prefix or {})
        super().__init__(
            ann_file=str(Path(ann_file).expanduser()),
            data_root=str(Path(data_root).expanduser()) if data_root else data_root,
            data_prefix={kind: str(Path(root).expanduser()) if root else root for kind, root in roots.items()},
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    def _join_prefix(self) -> None:
        """Put the data root before relative paths; ``..`` leads to beside a data root that is a link."""
        super()._join_prefix()
        self.data_prefix = {kind: through_links(root) for kind, root in self.data_prefix.items()}

    @property
    def virtual_views(self) -> VirtualViews:
        """Return which virtual views may be targets; none in test mode."""
        names = () if self.test_mode else self._virtual_names
        return VirtualViews(names, self.data_prefix['teacher'], self.skip_missing)

    # Every record of the file stays in ``data_list``, since neighbors are targets; ``_positions`` are the samples.

    def load_data_list(self) -> list[Info]:
        """Read and check the info file; decide which of its records are samples."""
        metainfo, infos = load_infos(self.ann_file)
        self._metainfo.update(metainfo)
        self.cameras = tuple(metainfo['cameras']) if self._named_cameras is None else self._named_cameras
        if not self.cameras:
            raise InputError(
                f'{self.ann_file}: no camera is chosen; name some of {", ".join(infos[0]["images"])} with the dataset '
                'option cameras, or leave it out for all'
            )
        require_cameras(infos[0], self.cameras, self.ann_file)
        if self.num_camera is not None:
            self.cameras = most_frontal(self.cameras, infos[0], self.num_camera)
        elif self.protocol is not None:
            self.cameras = protocol_cameras(self.protocol, self.cameras, infos[0])
        for info in infos:
            require_cameras(info, self.cameras, self.ann_file)
            for camera, kind in itertools.product(self.cameras, self.loaded_maps):
                if not info['images'][camera].get(kind):
                    raise InputError(
                        f'{self.ann_file}: sample {info["token"]}, {camera} names no {kind} files; {CONVERT_AGAIN}'
                    )
            if self.load_boxes:
                info['boxes'] = read_boxes(info, metainfo.get('categories', {}), self.ann_file)
            info.pop('instances', None)
            if len(info.get('lidar_sweeps', [])) >= self.lidar_sweeps:
                info['lidar_sweeps'] = info['lidar_sweeps'][: self.lidar_sweeps - 1]
        infos = self._all_frames(infos)
        self._targets = self._choose_targets(infos)
        self._positions = self._choose_samples(infos)
        self._past = PastFrames(infos, in_records=self.protocol is not None) if self.num_past else None
        self._lidar_poses = {} if self.gts is None else lidar_poses([info for info in infos if BETWEEN not in info])
        self._check_files(infos)
        return infos

    def _all_frames(self, infos: list[Info]) -> list[Info]:
        """Return the keyframes and, for a protocol that looks at them, records of the images between them."""
        frames = frames_of(infos, self.cameras, self.protocol is not None and self.protocol.between, self.ann_file)
        for info in infos:
            info.pop('image_sweeps', None)
        return frames

    def _choose_targets(self, infos: Sequence[Info]) -> NeighborTargets | ProtocolTargets:
        """Return what knows the targets of every sample."""
        if self.protocol is not None:
            return ProtocolTargets(self.protocol, infos, self.cameras, self.ann_file)
        if self.all_prev_frames:
            return NeighborTargets(infos, (-2, -1))
        if self.test_mode:
            return NeighborTargets(infos, (1,) if self.add_next_frame_for_eval else ())
        one_each = self.training_target_smart_sample
        return NeighborTargets(infos, (-1, 1) if one_each else (), one_each)

    def _choose_samples(self, infos: Sequence[Info]) -> np.ndarray:
        """Return the positions of the records that are samples."""
        if isinstance(self._targets, ProtocolTargets):
            positions = self._targets.positions
        elif self.test_mode and self.test_samples == 'second_of_scene':
            positions = second_of_each_scene(infos)
        else:
            positions = list(range(len(infos)))
        if self.require_lidar:
            positions = [position for position in positions if infos[position].get('lidar_points')]
        positions = thin_out(positions, self.every_nth, self._chosen, self.ann_file)
        if not positions:
            raise InputError(
                f'{self.ann_file}: none of its {len(infos)} samples is left; '
                'relax test_samples, require_lidar, every_nth or indices'
            )
        return np.asarray(positions)

    def _check_files(self, infos: Sequence[Info]) -> None:
        """Check that all files exist, and count in :attr:`availability`, by name, what may be missing."""
        # Positions of the records whose views can be loaded.
        others = [other for position in self._positions for other in self._targets.others(position).values()]
        with_maps = {*self._positions.tolist(), *others}
        past = [] if self._past is None else self._past.of_all(self._positions)
        self.keyframes = sorted(with_maps.union(past))
        self.input_keyframes = sorted({*self._positions.tolist(), *past})
        self._images_alone = frozenset(past) - with_maps
        loaded = [infos[position] for position in sorted(with_maps)]
        # Between keyframes there are only images.
        used = [info for info in loaded if BETWEEN not in info]
        samples = [infos[position] for position in self._positions]
        self.availability: dict[str, Availability] = {}
        if self.virtual_views:
            features = self.data_prefix['features'] if 'features' in self.loaded_maps else None
            self.virtual_views.require(samples, self.cameras, features, self.ann_file)
        check_images_and_lidar(loaded, self.cameras, self.data_prefix, self.load_lidar, self.lidar_sweeps)
        further = [infos[position] for position in sorted(self._images_alone)]
        check_images_and_lidar(further, self.cameras, self.data_prefix, load_lidar=False)
        if self._past is not None:
            self.availability[PAST] = self._past.availability(self._positions.tolist(), self.ann_file)
        if self.load_lidar:
            self.availability[LIDAR] = lidar_availability(used, self.lidar_sweeps, self.ann_file)
        if self.load_boxes:
            require_boxes(samples, self.ann_file)
        accompanied = sum(bool(self._targets.others(position)) for position in self._positions)
        neighbors = isinstance(self._targets, NeighborTargets)
        if not neighbors or self._targets.offsets:
            self.availability[OTHER_FRAMES] = Availability(accompanied, len(samples))
            if neighbors and not accompanied:
                warn(f'{self.ann_file}: no sample has another frame as a target: the current ones are repeated')
        if self.gts is not None:
            self.availability[OCCUPANCY] = label_availability(samples, self.gts, self.ann_file)
        if self.label_maps is not None:
            check_label_maps(samples, self.cameras, self.label_maps, self.skip_missing, self.ann_file)
        for kind in self.loaded_maps:
            root = self.data_prefix[kind]
            self.availability |= available_maps(used, self.cameras, root, kind, self.skip_missing, self.ann_file)
        first = [Path(self.data_prefix['img']) / loaded[0]['images'][camera]['img_path'] for camera in self.cameras]
        warn_of_exposure(((path, read_image(path)) for path in first), self.ann_file)
        if self.cache is not None:
            views = [view for position in self.keyframes for view in self._cached_views(infos[position], position)]
            check_cache_exists(views, self.pipeline.transforms, self._settings(), self.ann_file)

    def _cached_views(self, info: Info, position: int) -> Iterator[dict[str, Any]]:
        """Yield what the names of the cached files of every view of a keyframe depend on."""
        with_lidar = self.load_lidar and position not in self._images_alone
        lidar = lidar_measurements(info, self.lidar_sweeps) if with_lidar else None
        for camera in self.cameras:
            yield {'cache_name': cache_name('img', info['images'][camera]['img_path']), 'lidar': lidar}
        for camera, name in self._possible_virtual_views(info, position):
            files = virtual_view_files(info['images'][camera]['teacher'], name)
            yield {'cache_name': cache_name('teacher', files['rgb']), 'lidar': None}

    def _possible_virtual_views(self, info: Info, position: int) -> list[tuple[str, str]]:
        """List camera and name of the virtual views of a keyframe that may be chosen as targets."""
        return self.virtual_views.of_all(info, self.cameras) if position in self._positions else []

    @force_full_init
    def whole_keyframe(self, position: int) -> dict[str, Any]:
        """Return all views of one of the :attr:`keyframes`, as a transform gets them; its LiDAR frame is the world."""
        info = super().get_data_info(position)
        records = self._records(images_alone=position in self._images_alone)
        world2global = np.asarray(info['lidar2global'])
        views = [records.view(info, (CURRENT, camera), world2global) for camera in self.cameras]
        choices = self._possible_virtual_views(info, position)
        views += [records.virtual_view(info, *choice, world2global) for choice in choices]
        return {**self._settings(), 'views': dict(enumerate(views))}

    @force_full_init
    def __len__(self) -> int:
        return len(self._positions)

    @force_full_init
    def get_token(self, idx: int) -> str:
        """Return the token of a sample."""
        return self._info(idx)['token']

    @force_full_init
    def cameras_of_protocol(self) -> tuple[str, ...]:
        """Return the cameras that the protocol uses where no option chooses others; only with ``protocol``."""
        first = super().get_data_info(0)
        there = [camera for camera in self.metainfo['cameras'] if camera in first['images']]
        return protocol_cameras(self.protocol, there, first)

    @property
    @force_full_init
    def plan(self) -> Plan:
        """Return what the protocol chose; only with ``protocol``."""
        return self._targets.plan

    @force_full_init
    def planned(self, idx: int) -> Planned:
        """Return a sample as its protocol chose it; only with ``protocol``."""
        return self._targets.at(int(self._positions[idx]))

    @force_full_init
    def may_score_depth(self) -> bool:
        """Tell whether depth may be known of a frame whose depth is scored: a keyframe with maps or LiDAR."""
        if not isinstance(self._targets, ProtocolTargets):
            return True
        scored = self._targets.scored_depths(self._positions.tolist())
        keyframes = [info for info in map(super().get_data_info, scored) if BETWEEN not in info]
        maps = {'teacher', 'truth'} & set(self.loaded_maps)
        known = maps or any(self.load_lidar and lidar_measurements(info, self.lidar_sweeps) for info in keyframes)
        # Where a protocol adds its targets later, nothing is known here.
        return not scored or bool(keyframes and known)

    @force_full_init
    def ego2lidar(self, idx: int) -> np.ndarray:
        """Return the pose ``(4, 4)`` of a sample's ego frame in its LiDAR frame, in which its scene is."""
        return ego2lidar(self._info(idx))

    @force_full_init
    def occupancy(self, idx: int) -> OccupancyRecord:
        """Return where the labels of a sample are, and how their grid lies; only with ``gts``."""
        return occupancy_record(self._info(idx), self.gts, self._lidar_poses)

    @force_full_init
    def label_maps_of(self, idx: int) -> list[LabelMap] | None:
        """Return the label maps of a sample's input images, in their order; None without ``label_maps``."""
        return None if self.label_maps is None else label_maps_of(self._info(idx), self.cameras, self.label_maps)

    def _info(self, idx: int) -> Info:
        """Return the record of a sample."""
        return super().get_data_info(int(self._positions[idx]))

    def reload(
        self, num_camera: int | None = None, load_boxes: bool | None = None, num_past: int | None = None
    ) -> None:
        """Read the info file again with other options; nothing happens if they are as before.

        Args:
            num_camera, load_boxes, num_past: as when the dataset is made; ``None`` keeps the option.

        Raises:
            InputError: as when the dataset is made.
        """
        check_count('num_camera', num_camera)
        if num_past is not None:
            check_num_past(num_past)
        asked = {'num_camera': num_camera, 'load_boxes': load_boxes, 'num_past': num_past}
        changed = {name: value for name, value in asked.items() if value not in (None, getattr(self, name))}
        if changed:
            vars(self).update(changed)
            self._fully_initialized = False
            self.full_init()

    @force_full_init
    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep only the first ``indices`` samples (the last, if negative) or the listed ones."""
        if isinstance(indices, int):
            indices = range(len(self))[:indices] if indices >= 0 else range(len(self))[indices:]
        self._positions = self._positions[list(indices)]

    @force_full_init
    def get_subset(self, indices: int | Sequence[int]) -> DistillNeRFDataset:
        """Return a dataset of the chosen samples, which shares the records with this one."""
        subset = copy.copy(self)
        subset.get_subset_(indices)
        return subset

    def prepare_data(self, idx: int) -> dict[str, Any]:
        """Load a sample; random choices for a :class:`SeededIndex` come from its seed, through Python's generator."""
        if isinstance(idx, SeededIndex):
            random.seed(idx.seed)
        return self.finish(super().prepare_data(idx))

    def finish(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Do with a packed sample what comes after all transforms: resize the teacher's maps, if that is wanted."""
        if self.resize_teacher:
            views = sample['inputs'].items()
            sample['inputs'] = {name: at_render_size(part, self.render_size) for name, part in views}
        return sample

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return what the transforms need to load one sample.

        Returns:
            ``token``, ``scene``, ``frame``, ``timestamp``, ``sample_idx``; ``image_size``, ``render_size``;
            ``views``: ``{(frame offset, camera): view}``, each view once even if it is input and target;
            ``input_keys``, ``target_keys``: the order of the views; ``notes``: what had to be left out; with
            ``num_past`` also ``past_views``: those of the keyframe before, by the same keys and, where they are
            targets, too, the same records; empty if there is none.
            A view holds ``name``, ``frame``, ``img_path``, ``height``, ``width``, ``intrinsics``, ``cam2world``,
            ``paths`` (files of the maps to load, by the names that the loaded maps have, such as ``teacher_depth``)
            and, where wanted, ``lidar`` (a list of path, columns, lidar2world; None without LiDAR).
            With ``load_boxes`` also ``boxes``, with ``gts`` also ``occupancy``, with ``label_maps`` also these.
        """
        position = int(self._positions[idx])
        info = super().get_data_info(position)
        notes: list[str] = []
        input_keys = [(CURRENT, camera) for camera in self.cameras]
        others = self._targets.others(position)
        keys = self._targets.keys(position, self.cameras)
        target_keys = [existing(key, others, info['token'], notes) for key in keys]
        choices = self.virtual_views.choose(info, self.cameras, notes)
        if self.one_new_view_each and not self.test_mode:
            target_keys, choices = one_new_view_each(target_keys, choices)
        read = super().get_data_info
        offsets = dict.fromkeys(offset for offset, _ in target_keys if offset != CURRENT)
        frames = {CURRENT: info} | {offset: read(others[offset]) for offset in offsets}
        world2global, records = np.asarray(info['lidar2global']), self._records()
        views = {
            key: records.view(frames[key[0]], key, world2global) for key in dict.fromkeys(input_keys + target_keys)
        }
        virtual = [records.virtual_view(info, *choice, world2global) for choice in choices]
        virtual_keys = [(CURRENT, view['name']) for view in virtual]
        views |= dict(zip(virtual_keys, virtual, strict=True))
        target_keys[-len(input_keys) : -len(input_keys)] = virtual_keys
        if self.load_lidar:
            notes += [lidar_note(frame, self.lidar_sweeps) for frame in frames.values() if not frame['lidar_points']]
        return {
            **{key: info[key] for key in ('token', 'scene', 'frame', 'timestamp')},
            **({'boxes': info['boxes']} if self.load_boxes else {}),
            **({} if self.gts is None else {'occupancy': self.occupancy(idx)}),
            **({} if self.protocol is None else {'protocol': self.planned(idx).scored}),
            **({} if self.label_maps is None else {'label_maps': self.label_maps_of(idx)}),
            **({} if self._past is None else {'past_views': self._past_views(position, info, views, notes)}),
            **self._settings(),
            'sample_idx': idx if idx >= 0 else len(self) + idx,
            'views': views,
            'input_keys': input_keys,
            'target_keys': target_keys,
            'notes': notes,
        }

    def _past_views(
        self, position: int, info: Info, views: Mapping[Key, dict[str, Any]], notes: list[str]
    ) -> dict[Key, dict[str, Any]]:
        """Return the views of the keyframe before that of a sample.

        Args:
            position: of the sample among the records.
            info: its record; its LiDAR frame is the world.
            views: of its inputs and targets.
            notes: get a note if there is no such keyframe.
        """
        assert self._past is not None
        found = self._past.of(position)
        if found is None:
            notes.append(f'{info["token"]}: has no keyframe before it: no past')
            return {}
        offset, before = found
        frame, world2global = super().get_data_info(before), np.asarray(info['lidar2global'])
        records = self._records(images_alone=True)
        keys = [(offset, camera) for camera in self.cameras]
        return {key: views.get(key) or records.view(frame, key, world2global) for key in keys}

    def _settings(self) -> dict[str, Any]:
        """Return the settings of the dataset that the transforms read."""
        names = ('image_size', 'render_size', 'lidar_range', 'lidar_sweeps', 'skip_missing', 'cache')
        return {name: getattr(self, name) for name in names}

    def _records(self, images_alone: bool = False) -> ViewRecords:
        """Return what makes the records of views; with ``images_alone`` without LiDAR and maps."""
        cached = self.cache is not None or any(getattr(one, 'always_cached', False) for one in self.pipeline.transforms)
        maps, load_lidar = ((), False) if images_alone else (self.loaded_maps, self.load_lidar)
        return ViewRecords(self.data_prefix, maps, load_lidar, self.lidar_sweeps, cached)


def own_datasets(dataset: Dataset) -> list[DistillNeRFDataset]:
    """List the datasets of this class in a dataset, which may be wrapped or concatenated; all are read by now."""
    if isinstance(dataset, DistillNeRFDataset):
        dataset.full_init()
        return [dataset]
    inner = [*getattr(dataset, 'datasets', ()), *filter(None, [getattr(dataset, 'dataset', None)])]
    return [part for one in inner for part in own_datasets(one)]
