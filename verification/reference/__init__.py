"""Slow and obvious versions of the fast kernels and stages, which tests, parity and benchmark compare with."""
