"""Clusters: real engines, and real members of a cluster that others wrote."""
