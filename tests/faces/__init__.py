"""One suite over all faces, and what stands around them: other applications, TLS, proxies."""
