"""The gateway over HTTP/3: the same flows as over HTTP/2, and UDP that no lost packet of another flow holds back."""
