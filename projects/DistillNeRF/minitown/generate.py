"""Write MiniTown as a nuScenes v1.0 data set, with the truth and a perfect teacher beside it.

Layout under the data root (``<stem>`` is ``<scene>__<channel>__<time stamp in microseconds>``)::

    minitown.json                      the settings that the folder was made with
    splits.json                        {"train": [scene names], "val": [scene names]}; names are minitown-0001, ...
    v1.0-mini/*.json                   the thirteen nuScenes tables
    maps/<map token>.png               drivable area, 0.1 m per pixel, 255 = drivable (one map per scene)
    samples/CAM_*/<stem>.jpg           key frames (2 Hz); cameras fire up to 43 ms before the LiDAR, as in nuScenes
    samples/LIDAR_TOP/<stem>.pcd.bin   float32 (n, 5): x, y, z, intensity 0-255, ring
    sweeps/CAM_*, sweeps/LIDAR_TOP     between key frames: images at 4 Hz, LiDAR at 10 Hz
    gts/<scene>/<sample token>/labels.npz   Occ3D: semantics, mask_lidar, mask_camera, uint8 (200, 200, 16)
    truth/depth/CAM_*/<stem>.npy       float16 (H, W), z in metres, NaN in the sky
    truth/classes/CAM_*/<stem>.png     uint8 (H, W), ids of ``classes.CLASSES``
    truth/sky/CAM_*/<stem>.png         uint8 (H, W), 255 = sky, 0 = anything else
    truth/instances/CAM_*/<stem>.png   uint16 (H, W), 0 = no object, k = entry k - 1 of ``instances`` in the scene record
    truth/virtual/<view>/rgb/CAM_*/<stem>.jpg, truth/virtual/<view>/depth/CAM_*/<stem>.npy
                                       what a camera 1 m to the left (-1_0_0), right (1_0_0) or up (0_-1_0) sees
    truth/left_right.json              the novel-view path of the second key frame of each validation scene (below)
    truth/left_right/<stem>/<offset>.jpg|.npy   its images and depths, <offset> = -1.2 ... +0.0 ... +1.2
    records/<scene>.json               everything the tables say about one scene; exists only if the scene is whole

and in ``<root>_emernerf``, the layout of the published teacher, for each view (original 0_0_0 and the three above)::

    samples_<view>_0_0_0/depths/CAM_*/<stem>.npy        float16 (H, W), z in metres, 200 in the sky
    samples_<view>_0_0_0/gt_sky_masks/CAM_*/<stem>.npy  uint8 (H, W), 1 = sky
    samples_<view>_0_0_0/rgbs/CAM_*/<stem>.jpg

Truth and teacher cover the key frames. A view is named by the motion of the camera along its own axes (x right,
y down, z forward), in metres.

``truth/left_right.json`` is a list of paths: ``{"scene", "sample_token", "sample_data_token", "camera", "intrinsic"
(3 x 3), "views": [{"offset", "rgb", "depth", "cam2global" (4 x 4), "cam2lidar" (4 x 4)}]}``. The camera moves along
the x axis of the key frame's LiDAR (the published novel-view motion), in steps of 0.1 m; file names are relative to
the data root, ``cam2lidar`` refers to the LiDAR frame of the key frame.
"""
