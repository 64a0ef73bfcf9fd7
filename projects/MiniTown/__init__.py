"""MiniTown: a procedural street world with full ground truth, exported as a nuScenes data set."""
