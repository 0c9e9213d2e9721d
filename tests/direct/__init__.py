"""Tests of `solve` and of what belongs to it."""
