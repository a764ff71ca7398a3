"""`fauxface bench`: how fast faces are judged on this machine, by which provider, precision and threads."""
