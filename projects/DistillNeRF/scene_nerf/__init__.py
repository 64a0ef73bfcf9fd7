"""The teacher: a field per drive, and what it exports for students."""
