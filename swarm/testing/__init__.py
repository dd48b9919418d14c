"""What swarmd's own tests stand on, for the tests of environments and peers that others write."""
