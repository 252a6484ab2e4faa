"""The process of `run`: what its service manager is told, and when its config file changed."""
