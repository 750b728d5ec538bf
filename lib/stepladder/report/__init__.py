"""Pages of finished runs: static, without a server, safe to pass on."""
