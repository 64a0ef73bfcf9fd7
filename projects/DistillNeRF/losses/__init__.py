"""Losses: plain torch functions, the same functions as registered modules, and what each is computed on.

| function | registered class | published name | about |
| --- | --- | --- | --- |
| ``image.l1`` | ``RGBL1Loss`` | RGBL1Loss | images or features |
| ``image.l2`` | ``FeatureL2Loss`` | (ours) | features |
| ``image.PerceptualDistance`` | ``LPIPSLoss`` | LPIPS | images |
| ``image.dssim`` | ``DSSIMLoss`` | (ours) | images |
| ``depth.depth_loss`` | ``DepthLoss`` | DepthLoss | depth where the target is finite |
| ``depth.clamped_depth_loss`` | ``DepthClampLoss`` | DepthClampLoss, and Midas, DepthAnything | the same, clamped |
| ``depth.teacher_depth_loss`` | ``TeacherDepthLoss`` | EmernerfDepthClampLoss | near and far pixels apart |
| ``depth.log_depth_loss`` | ``LogDepthLoss`` | (ours) | depth in proportion to itself |
| ``depth.depth_bins_loss`` | ``DepthBinsLoss`` | (ours) | weights of the depth bins against known depth |
| ``depth.near_depth_edges`` | ``DepthEdgeLoss`` | (paper only) | clamped depth near edges |
| ``density.density_loss`` | ``DensityLoss`` | (ours) | voxels empty before the depth of a source, opaque at it |
| ``density.weight_entropy`` | ``WeightEntropyLoss`` | NerfWeightEntropyLoss | rays should meet one surface |
| ``density.opacity_loss`` | ``OpacityLoss`` | OpacityLoss | rays should end |
| ``density.line_of_sight_loss`` | ``LineOfSightLoss`` | LineOfSightLoss | LiDAR returns against weights |

The functions need torch alone; ``modules`` needs mmdet3d, and importing it registers the classes. ``subjects`` says how
a class declares what it is computed on.

The maths is that of the published code (docs/NETWORK.md#losses), with two corrections. A mean over no
element at all (no LiDAR return in the images, no teacher pixel in the near group) is 0 and still connected to
the graph, where the published code gives NaN or fails. The line-of-sight loss gives the weights of a pixel without
a return (NaN) the gradient 0, where the published code gives NaN.
Everything is computed in float32, whatever autocast says.
"""
