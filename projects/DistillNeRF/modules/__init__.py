"""Building blocks in plain torch: no mm* package is imported below this point."""
