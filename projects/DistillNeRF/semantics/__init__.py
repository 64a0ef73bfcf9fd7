"""What things are called: class names and codes, and vectors for words."""
