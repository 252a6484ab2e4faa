"""One file for each kind of object: its addresses, what is sent, what is answered."""
