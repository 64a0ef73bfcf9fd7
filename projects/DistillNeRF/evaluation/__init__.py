"""Evaluation: plain functions, and the same functions as metrics of the runner.

``metrics``, ``feature_metrics`` and ``occupancy.metric`` need mmdet3d, and importing them registers ``ImageMetric``,
``DepthMetric``, ``FeatureMetric``, ``QueryMetric`` and ``OccupancyMetric``; the others need torch, numba and numpy.
"""
