"""Tests of residual networks."""
