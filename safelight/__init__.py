"""The only package of ours in site-packages: a wheel has all others below it (decision 22)."""
