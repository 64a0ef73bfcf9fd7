"""The network, the scene that it makes, and (in ``wrapper``) their place in mmengine."""
