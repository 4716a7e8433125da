"""Faces: where it runs. One file is one way to reach the engine from the world."""
