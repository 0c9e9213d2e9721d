"""Tests of comparison, depth, pruning and bounds."""
