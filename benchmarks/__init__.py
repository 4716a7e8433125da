"""Madang against its neighbours: the same small application in each, the same load on each. See README.md."""
