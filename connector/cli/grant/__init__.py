"""`pyconnector grant`: leave to read one file, for a while."""
