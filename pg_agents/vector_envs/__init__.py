"""What Gymnasium's vector environments give, as SB3 and the rollout take it."""
