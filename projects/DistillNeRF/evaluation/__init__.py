"""Evaluation: plain functions, and the same functions as metrics of the runner.

``image``, ``depth``, ``baselines`` and ``groups`` need torch and scikit-image; ``image_metric`` and
``depth_metric`` need mmdet3d, and importing them registers ``ImageMetric`` and ``DepthMetric``.
"""
