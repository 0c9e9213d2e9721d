"""Tests of problems: the contract of those in `problems`, their data and their scores."""
