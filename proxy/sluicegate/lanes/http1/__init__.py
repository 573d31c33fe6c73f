"""HTTP/1 in clear: bytes to events and heads to bytes. Readers and writers are sans-io."""
