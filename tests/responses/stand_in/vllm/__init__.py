"""Stands where vLLM does, in an environment of a test's own: its server's command line, key, health and answers, no model."""
