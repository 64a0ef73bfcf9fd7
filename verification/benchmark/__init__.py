"""Time and memory of every stage, beside the same stages computed in the published way; see ``tools/benchmark.py``."""
