"""Tests of the depth certificate."""
