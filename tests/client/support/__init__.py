"""What the tests of the client share: cables that can be cut, proxies, servers in Node.js."""
