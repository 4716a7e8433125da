"""What the tests of clusters share."""
