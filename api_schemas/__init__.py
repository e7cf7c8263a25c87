"""The words that every part of Congeal speaks: pydantic models, no behaviour, no imports of other parts."""
