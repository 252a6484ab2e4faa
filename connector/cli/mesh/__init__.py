"""`pyconnector mesh up` and `pyconnector control`."""
