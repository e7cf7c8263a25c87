"""Bytes: content under keys, written whole or not at all."""
