"""Evaluation: plain functions, and the same functions as metrics of the runner.

``image``, ``depth``, ``baselines`` and ``report`` need torch and scikit-image; ``metrics`` and ``occupancy.metric``
need mmdet3d, and importing them registers ``ImageMetric``, ``DepthMetric`` and ``OccupancyMetric``.
"""
