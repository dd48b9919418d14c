"""swarmd's own test kit, as far as it is shipped: for tests of others' environments and peers."""
