"""One file a stage: its configuration, inputs, outputs and run()."""
