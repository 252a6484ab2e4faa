"""How clients get what proves an account: `cert.pem`."""
