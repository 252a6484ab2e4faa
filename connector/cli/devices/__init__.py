"""`pyconnector mesh device`: devices of a mesh of one's own."""
