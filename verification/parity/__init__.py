"""Proof that the network computes the published function: stored numbers of every stage against ours.

The vectors, their names and the maths are in docs/NETWORK.md; ``tools/check_parity.py`` runs all of it on any
folder of that format.
"""
