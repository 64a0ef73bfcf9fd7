"""Converters from raw data sets to info files. Everything peculiar to a data set stays in here."""
