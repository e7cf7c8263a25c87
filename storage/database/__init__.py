"""Rows: one schema for SQLite and PostgreSQL."""
