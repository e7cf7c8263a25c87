"""The HTTP interface: requests in, answers out; computes nothing that takes long."""
