"""What the tests behind proxies share."""
