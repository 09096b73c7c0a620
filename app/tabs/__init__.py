"""The tabs: each module builds one and returns its named components; its handlers make one call to the studio."""
