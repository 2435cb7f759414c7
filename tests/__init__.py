"""The tests of taskq and what they stand on."""
