"""Which cities there are, and the services that tell of them."""
