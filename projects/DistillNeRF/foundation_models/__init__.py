"""Foundation models: weights, image features, words, depth and sky. No mm* package below this."""
