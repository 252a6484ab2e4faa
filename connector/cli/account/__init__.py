"""`pyconnector tunnel create`, `list`, `route`, ...: objects of an account, by the API of the provider or of a mesh."""
