"""A network interface of this machine that leads into the private network (CONNECT-IP). Linux, with rights."""
