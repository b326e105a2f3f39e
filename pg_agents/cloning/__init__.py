"""Records demonstrations and fits policies to them (behavioural cloning)."""
