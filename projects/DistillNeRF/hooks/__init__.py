"""Hooks of the training engine."""
