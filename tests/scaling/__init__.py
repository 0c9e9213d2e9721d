"""Tests of the depth-scaling analyses."""
