"""Clusters: what it costs to reach clients of other servers."""
