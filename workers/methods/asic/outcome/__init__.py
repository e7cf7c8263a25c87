"""What a user gets out of an alignment by ASIC."""
