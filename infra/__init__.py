"""Where stages run and where their results go."""
