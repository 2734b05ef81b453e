"""What users need to test their own apps: an embedded broker on a free port, and the in-memory doubles."""
