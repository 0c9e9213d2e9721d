"""Tests of what is checked in a user's functions."""
