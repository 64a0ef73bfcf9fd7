"""Proof and measurement: parity with the published numbers, time and memory, and slow reference versions."""
