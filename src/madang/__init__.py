"""Madang."""
