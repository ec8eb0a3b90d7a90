"""The composition root: the only place that names concrete adapters. One file for each thing that can be started."""
