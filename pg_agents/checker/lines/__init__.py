"""Where in the user's source a loss is built, and where a mistake stands."""
