"""Tests of initialisations."""
