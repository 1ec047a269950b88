"""Observations from elsewhere: simulations, benchmarks, tables, each written as NetCDF that ingest reads."""
