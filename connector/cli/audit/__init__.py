"""`pyconnector audit`: checks an audit log, and shows what is in it."""
