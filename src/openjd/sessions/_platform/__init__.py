"""All knowledge of operating systems, behind one protocol."""
