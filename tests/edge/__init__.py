"""Tests of the edge between API and inside, and of the rules of the house."""
