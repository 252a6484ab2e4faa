"""Services that answer well, late, early, in part or not at all, as the request's path tells them."""
