"""Converters: raw data set -> info files. Everything peculiar to a data set stays in here."""
