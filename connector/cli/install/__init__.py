"""`service install` and `service uninstall`: a connector that the machine starts."""
