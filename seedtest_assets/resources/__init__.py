"""The outside world: database and services. Everything connects on use."""
