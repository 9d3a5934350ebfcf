"""`gateway simulate`: devices that are not there, connecting as real ones do."""
