"""The vendors' services over HTTP; they need the extra `services`."""
