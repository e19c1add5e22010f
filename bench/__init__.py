"""Measurements, which are not tests: each module has `measure()`, yielding one line per figure."""
