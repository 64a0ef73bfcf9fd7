"""Evaluation: plain functions, and the same functions as metrics of the runner.

``image``, ``depth``, ``baselines`` and ``report`` need torch and scikit-image; ``metrics`` needs mmdet3d, and importing
it registers ``ImageMetric`` and ``DepthMetric``.
"""
